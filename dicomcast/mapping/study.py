"""ImagingStudy, on the level of the study, of the instance that speaks for it (`merge` decides which does)."""

from __future__ import annotations

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.people import people
from dicomcast.mapping.rows import Facts, Table
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import tag
from dicomcast.mapping.terminology import DCM, IDENTIFIER_TYPE
from dicomcast.mapping.values import (
    JSON,
    codes,
    extension,
    fhir_datetime,
    issued_identifier,
    study_identifier,
    without_empty,
)
from dicomcast.model import Extra

__all__ = ["ACCESSION", "STUDY", "STUDY_ID", "VISIT"]

STUDY = Table("ImagingStudy")

ACCESSION: JSON = {"coding": [{"system": IDENTIFIER_TYPE, "code": "ACSN", "display": "Accession ID"}]}
# v2-0203 has no code for it; the text tells it from what others write.
STUDY_ID: JSON = {"text": "Study ID"}
_STUDY_UID: JSON = {"coding": [{"system": DCM, "code": "110180", "display": "Study Instance UID"}]}
VISIT: JSON = {"coding": [{"system": IDENTIFIER_TYPE, "code": "VN", "display": "Visit number"}]}
_SEX_PARAMETER = "http://hl7.org/fhir/StructureDefinition/patient-sexParameterForClinicalUse"
_REQUESTS = ("RequestAttributesSequence", "ReferencedRequestSequence")

STUDY.counted("meta.source", "", "R4 resource.html#Meta", "The DICOMweb base URL of the study's archive and partition.")


@STUDY.row("identifier:uid", "StudyInstanceUID", "R4 imagingstudy.html, Notes; PS3.3 C.7.2.1", always=True)
def _uid(facts: Facts) -> list[JSON]:
    """`urn:dicom:uid`, official, of type DCM 110180 (as EU and MADO have it); a UID that is no OID as it stands."""
    return [study_identifier(facts.study_uid) | {"type": _STUDY_UID}]


@STUDY.row("identifier:accession", "AccessionNumber IssuerOfAccessionNumberSequence", "R4 mappings; PS3.3 C.7.2.1")
def _accession(facts: Facts) -> list[JSON]:
    """Type v2-0203 ACSN; the system is its issuer's, else `MAPPING__ACCESSION_SYSTEM`; the issuer's name assigns it."""
    accession = _accession_of(facts.dataset, facts.rules)
    return [accession] if accession else []


def _accession_of(dataset: Dataset, rules: Rules) -> JSON:
    value = dataset.identifier(tag("AccessionNumber"))
    authorities = dataset.items(tag("IssuerOfAccessionNumberSequence"))
    return issued_identifier(value, authorities, rules.issuers, type=ACCESSION, system=rules.accession_system)


@STUDY.row("identifier:study-id", "StudyID", "R4 mappings; PS3.3 C.7.2.1", extra=Extra.STUDY_ID)
def _study_id(facts: Facts) -> list[JSON]:
    """Secondary and without system: it is unique for a device at best."""
    value = facts.dataset.identifier(tag("StudyID"))
    return [{"use": "secondary", "type": STUDY_ID, "value": value}] if value else []


STUDY.counted("status", "", "R4 imagingstudy.html", "`available` while the archive holds an instance of the study.")
STUDY.counted(
    "modality",
    "",
    "R4 and R5 mappings; PS3.16 CID 29, CID 33",
    "The distinct acquisition modalities of the series (ModalitiesInStudy is in no instance); "
    "in R5, and with the extra `all-modalities`, also KO, PR, SR, SEG and the like.",
)
STUDY.counted("subject", "", "R4 mappings", "The Patient below, by reference and by identifier.")


@STUDY.row(
    "encounter",
    "AdmissionID IssuerOfAdmissionIDSequence",
    "PS3.3 C.3.2",
    extra=Extra.ENCOUNTER,
    shared=True,
)
def _encounter(facts: Facts) -> JSON:
    """A logical reference of type v2-0203 VN, unless another that is not ours stands there."""
    value = facts.dataset.identifier(tag("AdmissionID"))
    authorities = facts.dataset.items(tag("IssuerOfAdmissionIDSequence"))
    visit = issued_identifier(value, authorities, facts.rules.issuers, type=VISIT)
    return {"type": "Encounter", "identifier": visit} if visit else {}


@STUDY.row(
    "started", "StudyDate StudyTime TimezoneOffsetFromUTC", "R4 mappings, datatypes.html#dateTime; PS3.3 C.7.2.1"
)
def _started(facts: Facts) -> str:
    """With the time only where its zone is known: TimezoneOffsetFromUTC, else `MAPPING__TIMEZONE`; never UTC for want
    of one. 00010101 and 99991231 are what software enters for "unknown"."""
    return fhir_datetime(facts.dataset, "StudyDate", "StudyTime", facts.rules.timezone)


@STUDY.row(
    "basedOn",
    f"AccessionNumber IssuerOfAccessionNumberSequence {' '.join(_REQUESTS)}",
    "R4 and R5 mappings; PS3.3 C.7.2.1, §10.6, C.17.2",
)
def _based_on(facts: Facts) -> list[JSON]:
    """A logical reference to a ServiceRequest for each accession number, of the study and of the requests in it."""
    references: list[JSON] = []
    for request in _requests(facts.dataset):
        accession = _accession_of(request, facts.rules)
        reference = {"type": "ServiceRequest", "identifier": accession}
        if accession and reference not in references:
            references.append(reference)
    return references


def _requests(dataset: Dataset) -> list[Dataset]:
    """The dataset and the items that may each name the request they answer."""
    return [dataset, *(item for keyword in _REQUESTS for item in dataset.items(tag(keyword)))]


@STUDY.row(
    "referrer",
    "ReferringPhysicianName ReferringPhysicianIdentificationSequence CodingSchemeIdentificationSequence",
    "R4 mappings; PS3.3 C.7.2.1, §10.1",
)
def _referrer(facts: Facts) -> JSON:
    """The first: the name as display, the id as identifier; no Practitioner is created."""
    found = people(facts.dataset, "ReferringPhysicianName", "ReferringPhysicianIdentificationSequence")
    return found[0] if found else {}


@STUDY.row(
    "interpreter",
    "NameOfPhysiciansReadingStudy PhysiciansReadingStudyIdentificationSequence CodingSchemeIdentificationSequence",
    "R4 mappings; PS3.3 C.7.2.1, §10.1",
)
def _interpreter(facts: Facts) -> list[JSON]:
    """Each of them, as the referrer."""
    return people(facts.dataset, "NameOfPhysiciansReadingStudy", "PhysiciansReadingStudyIdentificationSequence")


STUDY.counted("endpoint", "", "R4 imagingstudy.html, Notes", "The DICOMweb service of the archive, before any others.")
STUDY.counted("numberOfSeries", "", "R4 mappings", "The series listed (NumberOfStudyRelatedSeries is in no instance).")
STUDY.counted("numberOfInstances", "", "R4 mappings", "The instances of all series.")


@STUDY.row(
    "procedureCode",
    "ProcedureCodeSequence CodingSchemeIdentificationSequence",
    "R4 mappings; PS3.3 C.7.2.1, §8.8",
)
def _procedure_code(facts: Facts) -> list[JSON]:
    """A concept for each item, CodeMeaning as text. SRT codes become SNOMED CT; a scheme without URI is only text."""
    return codes(facts.dataset, "ProcedureCodeSequence")


@STUDY.row("location", "InstitutionalDepartmentName PerformedLocation", "R4 mappings; PS3.3 C.7.5.1, C.4.14")
def _location(facts: Facts) -> JSON:
    """The department, else the place where the procedure was performed, as display."""
    found = (facts.dataset.text(tag(keyword)) for keyword in ("InstitutionalDepartmentName", "PerformedLocation"))
    return without_empty({"display": next(filter(None, found), "")})


@STUDY.row(
    "reasonCode",
    "ReasonForTheRequestedProcedure ReasonForRequestedProcedureCodeSequence CodingSchemeIdentificationSequence "
    + " ".join(_REQUESTS),
    "R4 mappings; PS3.3 §10.6, C.17.2, C.4.11",
)
def _reason_code(facts: Facts) -> list[JSON]:
    """In words and in codes, of the study and of the requests in it. The words are the text of the code if there is
    just one; else nobody knows which code they explain."""
    reasons: list[JSON] = []
    for request in _requests(facts.dataset):
        text = request.text(tag("ReasonForTheRequestedProcedure"))
        coded = codes(request, "ReasonForRequestedProcedureCodeSequence")
        if text and len(coded) == 1:
            coded = [coded[0] | {"text": text}]
        elif text:
            coded = [*coded, {"text": text}]
        for reason in coded:
            if reason not in reasons:
                reasons.append(reason)
    return reasons


@STUDY.row(
    "note", "StudyDescription", "R4 imagingstudy.html, ImagingStudy.note (definition); PS3.3 C.7.2.1", shared=True
)
def _note(facts: Facts) -> list[JSON]:
    """Only with `MAPPING__COMPAT`: the description once more, where DICOM Cast had it; others' notes stay."""
    text = facts.dataset.text(tag("StudyDescription"))
    return [{"text": text}] if text and facts.rules.compat else []


@STUDY.row("description", "StudyDescription", "R4 mappings; PS3.3 C.7.2.1")
def _description(facts: Facts) -> str:
    """Without padding."""
    return facts.dataset.text(tag("StudyDescription"))


@STUDY.row(
    f"extension:{_SEX_PARAMETER}",
    "SexParametersForClinicalUseCategorySequence CodingSchemeIdentificationSequence",
    "PS3.3 C.2.3; HL7 Sex Parameter for Clinical Use",
    extra=Extra.SEX_PARAMETERS,
)
def _sex_parameters(facts: Facts) -> list[JSON]:
    """Value and comment of each item; on the study, whose use of them it is."""
    category = "SexParametersForClinicalUseCategory"
    return [
        extension(_SEX_PARAMETER, value=value, comment=item.text(tag(f"{category}Comment")))
        for item in facts.dataset.items(tag(f"{category}Sequence"))
        for value in codes(item, f"{category}CodeSequence")[:1]
    ]
