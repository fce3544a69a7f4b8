"""Looking at a folder of images: what they are, which layout reads them, and links where none does."""

from fod_bench.datasets.recognise.arrange import arrange
from fod_bench.datasets.recognise.found import FoundImages
from fod_bench.datasets.recognise.proposal import Proposal, arranged, as_it_lies, published
from fod_bench.datasets.recognise.recognise import recognise

__all__ = ["FoundImages", "Proposal", "arrange", "arranged", "as_it_lies", "published", "recognise"]
