# One image for every node of a cluster, so that all have the same Python, Ray and fod-bench: docs/clusters.md.
#
#   docker build --tag registry.example.com/fod-bench:0.1.0 .
#   docker push registry.example.com/fod-bench:0.1.0
#
# CUDA comes with PyTorch's wheels. A node with GPUs brings its driver (580 or newer) and NVIDIA's container toolkit.
FROM python:3.11-slim-bookworm

# What Ray's launcher and KubeRay call within a container: ssh and rsync from the head to its workers, wget to ask whether a node is
# well, tmux for a command that outlives the connection. And a C compiler: with it Triton makes its link to a GPU's driver, on each
# machine anew. Debian keeps one version of each for a release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev openssh-client rsync tmux wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --user-group --shell /bin/bash fod

WORKDIR /opt/fod-bench

# First everything that fod-bench needs, several GB which change with these two files only: a new version of fod-bench is a small layer.
# What pip leaves in build/ has to go: setuptools would take a newer file there for the package's own.
COPY pyproject.toml constraints.txt ./
RUN mkdir fod_bench \
    && echo '__version__ = "0"' > fod_bench/__init__.py \
    && touch README.md LICENSE \
    && pip install --no-cache-dir --constraint constraints.txt '.[cluster]' \
    && rm -r build fod_bench fod_bench.egg-info

COPY README.md LICENSE ./
COPY fod_bench fod_bench
RUN pip install --no-cache-dir --no-deps --force-reinstall . \
    && rm -r build fod_bench.egg-info \
    && fod-bench --version

# HOME is named, since Ray's launcher looks for it in the image's settings.
ENV HOME=/home/fod
USER 1000:1000
WORKDIR /home/fod
CMD ["fod-bench", "--help"]
