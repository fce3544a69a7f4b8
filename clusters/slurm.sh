#!/usr/bin/env bash
# Slurm: Ray over the nodes of one allocation, for one run. Before its time is up the job asks for checkpoints and queues again; then it
# goes on where it stood.
#
# Needs: fod-bench in an environment that all nodes see: python3.11 -m venv ~/fod-bench-env, and in its repository
#          ~/fod-bench-env/bin/python -m pip install --constraint constraints.txt '.[cluster]'
#        a store that all nodes see, a folder or a bucket (credentials where boto3 finds them); the job's data likewise; for GPUs an
#        NVIDIA driver of 580 or newer, gcc and Python's headers (Debian: python3-dev).
# Fill in: the lines of #SBATCH, as the site has partitions, accounts and GPUs.
#
#   sbatch --export=ALL,JOB=quickstart,STORE="$HOME/fod-bench-store" clusters/slurm.sh
#   tail --follow fod-bench-JOBID.log
#   fod-bench status --watch --store "$HOME/fod-bench-store"
#   scancel --signal=TERM --batch JOBID         # stops it, with checkpoints; the same sbatch goes on
#
# Open: Ray's port, RAY_PORT below, and some that Ray chooses, on the nodes of the allocation, to whoever reaches these nodes. All ask
# for a token that is made for this job. There is no dashboard.

#SBATCH --job-name=fod-bench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=fod-bench-%j.log
#SBATCH --signal=B:USR1@180

set -euo pipefail

: "${JOB:?is missing: sbatch --export=ALL,JOB=quickstart,STORE=/shared/store clusters/slurm.sh}"
: "${STORE:?is missing: sbatch --export=ALL,JOB=quickstart,STORE=/shared/store clusters/slurm.sh}"
ENVIRONMENT=${ENVIRONMENT:-$HOME/fod-bench-env}
RAY_PORT=${RAY_PORT:-6379}
HEAD_ADDRESS=${HEAD_ADDRESS:-$(hostname -I | awk '{print $1}')}   # of this node, on which the script runs
export PATH="$ENVIRONMENT/bin:$PATH"

# The token, in a folder that all nodes see and nobody else reads. It goes with the job.
umask 077
secret=$(mktemp -d "$HOME/.fod-bench-slurm-XXXXXXXX")
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$secret/token"
unset RAY_AUTH_TOKEN RAY_ADDRESS
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$secret/token"

run=''
asked=''
# shellcheck disable=SC2329  # called by a trap
end() {
    for process in $run $(jobs -p); do
        kill -TERM "$process" 2> /dev/null || true
    done
    wait || true
    rm -rf "$secret"
}
# shellcheck disable=SC2329
ask() {
    asked=$1
    [[ -z $run ]] || kill -TERM "$run" 2> /dev/null || true
}
trap end EXIT
trap 'ask requeue' USR1
trap 'ask stop' TERM

# Ray on one node, its sockets and logs in a folder for this user alone, which is removed when Ray has ended.
# shellcheck disable=SC2016  # to be expanded on the node
node='folder=/tmp/fod-bench-$SLURM_JOB_ID; mkdir -p -m 700 "$folder"
ray start "$@" --temp-dir="$folder/r" --block & trap "kill -TERM $!" TERM; wait $!; wait $!; rm -rf "$folder"'
ray_on() { # the nodes as options of srun, -- and options of ray start
    local where=()
    while [[ $1 != -- ]]; do where+=("$1"); shift; done
    shift
    srun "${where[@]}" --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c "$node" ray "$@" \
        --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --object-store-memory=1000000000 --disable-usage-stats &
}

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${nodes%%$'\n'*}
ray_on --nodes=1 --ntasks=1 --nodelist="$first" -- \
    --head --node-ip-address="$HEAD_ADDRESS" --port="$RAY_PORT" --include-dashboard=false
until ray health-check --address "$HEAD_ADDRESS:$RAY_PORT" > /dev/null 2>&1; do
    [[ -n $(jobs -pr) ]] || { echo "Ray has not started on $first" >&2; exit 1; }
    [[ -z $asked ]] || exit 130
    sleep 1
done
others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
    ray_on --nodes="$others" --ntasks="$others" --exclude="$first" -- --address="$HEAD_ADDRESS:$RAY_PORT"
fi

# Nodes that come later are used, too. Asked to end, the run leaves checkpoints and says how to go on.
fod-bench run "$JOB" --address "$HEAD_ADDRESS:$RAY_PORT" --store "$STORE" &
run=$!
while kill -0 "$run" 2> /dev/null; do # a signal ends the waiting, not the run
    wait "$run" || true
done
code=0
wait "$run" || code=$?
run=''
if [[ $asked == requeue ]] && ((code != 0)); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
