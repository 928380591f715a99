"""The file formats there are: the explicit list, in the order in which a page offers them."""

from scanner.exports.csv import Csv
from scanner.exports.cyclonedx import CycloneDx
from scanner.exports.interface import Export
from scanner.exports.json import Json
from scanner.exports.pdf import Pdf

EXPORTS: tuple[Export, ...] = (Csv(), Json(), CycloneDx(), Pdf())
BY_NAME = {each.name: each for each in EXPORTS}
