"""DICOM files of the kinds that pydicom ships none of, as their modules in PS3.3 have them, without pixels."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EncapsulatedPDFStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    XRayRadiationDoseSRStorage,
)

__all__ = ["KINDS", "ct", "made"]


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _file(sop_class: str, modality: str, number: int, **attributes: Any) -> bytes:
    """A whole file of one study; the `number` is the series'."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    common = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": f"2.25.77.{number}.1",
        "StudyInstanceUID": "2.25.77",
        "SeriesInstanceUID": f"2.25.77.{number}",
        "SeriesNumber": number,
        "InstanceNumber": 1,
        "Modality": modality,
        "StudyDate": "20240715",
        "StudyTime": "083117",
        "PatientName": "Doe^Jane",
        "PatientID": "P-77",
    }
    dataset.update(_item(**(common | attributes)))
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def made(change: Callable[[Dataset], object]) -> bytes:
    """A CT image whose dataset is changed before it is written; pydicom writes bytes that it would not read."""
    dataset = dcmread(BytesIO(_file(CTImageStorage, "CT", 1)))
    change(dataset)
    content = BytesIO()
    dataset.save_as(content)
    return content.getvalue()


def ct(study: str, series: str, instance: str, **attributes: Any) -> bytes:
    """A small CT image of these UIDs; keyword arguments are DICOM keywords."""
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": instance}
    return _file(CTImageStorage, "CT", 1, **uids, **attributes)


def _enhanced_mr() -> bytes:
    """One file of 200 frames, all of the right knee (PS3.3 A.36)."""
    knee = _item(FrameLaterality="R", AnatomicRegionSequence=[_code("72696002", "SCT", "Knee")])
    position = _item(PlanePositionSequence=[_item(ImagePositionPatient=[0, 0, 0])])
    return _file(
        EnhancedMRImageStorage,
        "MR",
        1,
        NumberOfFrames=200,
        SharedFunctionalGroupsSequence=[_item(FrameAnatomySequence=[knee])],
        PerFrameFunctionalGroupsSequence=[position] * 200,
    )


def _segmentation() -> bytes:
    """Frames of a segment (PS3.3 A.51)."""
    region = _item(SegmentNumber=1, SegmentLabel="patella", SegmentAlgorithmType="MANUAL")
    of = _item(SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=1)])
    return _file(
        SegmentationStorage,
        "SEG",
        2,
        ContentLabel="PATELLA",
        ContentDescription="by hand",
        NumberOfFrames=2,
        SegmentSequence=[region],
        PerFrameFunctionalGroupsSequence=[of, of],
    )


def _structures() -> bytes:
    """An RT Structure Set (PS3.3 A.19)."""
    structure = _item(ROINumber=1, ROIName="patella", ReferencedFrameOfReferenceUID="2.25.78")
    return _file(RTStructureSetStorage, "RTSTRUCT", 3, StructureSetLabel="Plan", StructureSetROISequence=[structure])


def _key_objects() -> bytes:
    """A Key Object Selection (PS3.3 A.35.4), whose date is another than the images'."""
    image = _item(ReferencedSOPClassUID=EnhancedMRImageStorage, ReferencedSOPInstanceUID="2.25.77.1.1")
    series = _item(SeriesInstanceUID="2.25.77.1", ReferencedSOPSequence=[image])
    evidence = _item(StudyInstanceUID="2.25.77", ReferencedSeriesSequence=[series])
    return _file(
        KeyObjectSelectionDocumentStorage,
        "KO",
        4,
        ConceptNameCodeSequence=[_code("113000", "DCM", "Of Interest")],
        CurrentRequestedProcedureEvidenceSequence=[evidence],
        ContentSequence=[_item(ValueType="IMAGE", RelationshipType="CONTAINS", ReferencedSOPSequence=[image])],
    )


def _dose() -> bytes:
    """An X-Ray Radiation Dose SR (PS3.3 A.35.8, PS3.16 TID 10011) of a study's CT, in SNOMED RT as they come."""
    dose = _item(
        ValueType="NUM",
        RelationshipType="CONTAINS",
        ConceptNameCodeSequence=[_code("113813", "DCM", "CT Dose Length Product Total")],
        MeasuredValueSequence=[
            _item(NumericValue="203.12", MeasurementUnitsCodeSequence=[_code("mGycm", "UCUM", "mGycm")])
        ],
    )
    return _file(
        XRayRadiationDoseSRStorage,
        "SR",
        5,
        ProcedureCodeSequence=[_code("P5-08000", "SRT", "Computed Tomography X-Ray")],
        ConceptNameCodeSequence=[_code("113701", "DCM", "X-Ray Radiation Dose Report")],
        ContentSequence=[dose],
    )


def _pdf() -> bytes:
    """An encapsulated PDF (PS3.3 A.45.1)."""
    return _file(
        EncapsulatedPDFStorage,
        "DOC",
        6,
        DocumentTitle="Report of the knee",
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocument=b"%PDF-1.7\n%%EOF ",
    )


KINDS = {
    "enhanced-mr": _enhanced_mr(),
    "segmentation": _segmentation(),
    "structure-set": _structures(),
    "key-objects": _key_objects(),
    "dose-report": _dose(),
    "pdf": _pdf(),
}
