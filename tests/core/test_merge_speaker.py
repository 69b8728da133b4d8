"""Who speaks for a series and a study, and whose metadata must be read when that is not told."""

from __future__ import annotations

from typing import Any

from dicomcast.mapping.rules import Rules
from dicomcast.merge import Draft, Links, draft, merge_study
from dicomcast.model import Instance, InstanceKey, StudyDelta, StudyKey
from tests.metadata import CT, MAMMOGRAM, SECONDARY_CAPTURE, SR, metadata

KEY = StudyKey("https://dicom.example", "", "1.2")
RULES = Rules("urn:oid:2.25.1")
LINKS = Links({"reference": "Patient/p"}, "Endpoint/e", "https://dicom.example/v2")


def key(uid: str) -> InstanceKey:
    """Instances are named "<series>.<number>"."""
    return InstanceKey(uid.rpartition(".")[0], uid)


def delta(instances: dict[str, Any], *deleted: str, snapshot: bool = False) -> StudyDelta:
    """Instances by UID with their attributes (None: the feed did not say), and UIDs that were deleted."""
    told = {
        key(uid): Instance(key(uid), None if attributes is None else metadata(**attributes))
        for uid, attributes in instances.items()
    }
    return StudyDelta(KEY, told, frozenset(map(key, deleted)), snapshot)


def drafted(existing: dict[str, Any] | None, change: StudyDelta) -> Draft:
    """The draft of a delta."""
    return draft(existing, change, RULES, LINKS.endpoint)


def merged(existing: dict[str, Any] | None, change: StudyDelta) -> dict[str, Any]:
    """The study after a delta that leaves nothing to be read."""
    content = drafted(existing, change)
    assert content.missing == frozenset()
    return merge_study(existing, content, KEY, RULES, LINKS, "own-id")


def image(number: int | None, **attributes: Any) -> dict[str, Any]:
    """A CT slice of series 1."""
    told = {"SOPClassUID": CT, "Modality": "CT", "SeriesNumber": 1, "InstanceNumber": number, **attributes}
    return {keyword: value for keyword, value in told.items() if value is not None}


def test_smallest_instance_number_speaks() -> None:
    """In a series of images the smallest InstanceNumber speaks; one without a number comes last."""
    change = delta(
        {
            "1.2.1.1": image(None, SeriesDescription="none"),
            "1.2.1.2": image(7, SeriesDescription="seven"),
            "1.2.1.3": image(3, SeriesDescription="three"),
        }
    )
    assert drafted(None, change).speaker == key("1.2.1.3")
    assert merged(None, change)["series"][0]["description"] == "three"


def test_smallest_uid_speaks_where_numbers_do_not_decide() -> None:
    """Two instances of the same number: the UID decides, so that the order of arrival does not."""
    for order in (["1.2.1.1", "1.2.1.2"], ["1.2.1.2", "1.2.1.1"]):
        change = delta({uid: image(1, SeriesDescription=uid) for uid in order})
        assert merged(None, change)["series"][0]["description"] == "1.2.1.1"


def test_acquired_image_speaks_before_other_objects() -> None:
    """Rank of the SOP class goes before numbers: an SR or a screenshot with smaller numbers does not speak."""
    change = delta(
        {
            "1.2.1.1": image(9, StudyDescription="image", SeriesNumber=9),
            "1.2.2.1": image(1, StudyDescription="report", SeriesNumber=1, SOPClassUID=SR, Modality="SR"),
            "1.2.3.1": image(1, StudyDescription="shot", SeriesNumber=1, SOPClassUID=SECONDARY_CAPTURE),
        }
    )
    assert drafted(None, change).speaker == key("1.2.1.1")
    assert merged(None, change)["description"] == "image"


def test_smallest_series_number_speaks_for_the_study() -> None:
    """Among images of the same rank SeriesNumber goes before InstanceNumber."""
    change = delta(
        {
            "1.2.1.1": image(1, SeriesNumber=2, StudyDescription="second"),
            "1.2.2.5": image(5, SeriesNumber=1, StudyDescription="first"),
        }
    )
    assert merged(None, change)["description"] == "first"


def test_who_does_not_speak_changes_nothing() -> None:
    """A later slice adds itself and a count; the attributes of series and study stay."""
    before = merged(None, delta({"1.2.1.1": image(1, StudyDescription="one", SeriesDescription="one")}))
    after = merged(before, delta({"1.2.1.2": image(2, StudyDescription="two", SeriesDescription="two")}))
    assert (after["description"], after["series"][0]["description"]) == ("one", "one")
    assert after["numberOfInstances"] == after["series"][0]["numberOfInstances"] == 2


def test_deletion_of_the_speaker_names_who_must_be_read() -> None:
    """When who spoke for series and study is deleted, the next one's metadata is needed, and no more."""
    before = merged(
        None, delta({f"1.2.1.{number}": image(number, StudyDescription=str(number)) for number in (1, 2, 3)})
    )
    content = drafted(before, delta({}, "1.2.1.1"))
    assert content.missing == {key("1.2.1.2")}
    after = merged(before, delta({"1.2.1.2": image(2, StudyDescription="2")}, "1.2.1.1"))
    assert after["description"] == "2"
    assert drafted(before, delta({}, "1.2.1.3")).missing == frozenset()


def test_deletion_of_a_series_names_who_speaks_for_the_study() -> None:
    """When the series goes whose speaker spoke for the study, the speaker of the next one is read."""
    before = merged(
        None, delta({"1.2.1.1": image(1), "1.2.2.1": image(1, SeriesNumber=2), "1.2.2.2": image(2, SeriesNumber=2)})
    )
    content = drafted(before, delta({}, "1.2.1.1"))
    assert (content.speaker, content.missing) == (key("1.2.2.1"), {key("1.2.2.1")})


def test_entry_without_metadata_must_be_read() -> None:
    """An instance of which the feed tells nothing is read, whether it speaks or not."""
    before = merged(None, delta({"1.2.1.1": image(1)}))
    assert drafted(before, delta({"1.2.1.2": None})).missing == {key("1.2.1.2")}


def test_nothing_left_has_no_speaker() -> None:
    """When the last instance goes nobody speaks, and nothing is read: the study goes."""
    before = merged(None, delta({"1.2.1.1": image(1)}))
    content = drafted(before, delta({}, "1.2.1.1"))
    assert (content.speaker, content.missing, content.series) == (None, frozenset(), [])


def mammogram(number: int, side: str) -> dict[str, Any]:
    """One view of a breast."""
    return image(number, SOPClassUID=MAMMOGRAM, Modality="MG", ImageLaterality=side)


def test_images_that_name_their_side_are_read_together() -> None:
    """Whether a series is of one side can only be told from all its images, so a change wants all of them."""
    left = {"1.2.1.1": mammogram(1, "L"), "1.2.1.2": mammogram(2, "L")}
    before = merged(None, delta(left))
    assert before["series"][0]["laterality"]["display"] == "Unilateral left"
    right = {"1.2.1.3": mammogram(3, "R")}
    assert drafted(before, delta(right)).missing == {key("1.2.1.1"), key("1.2.1.2")}
    both = merged(before, delta(left | right))
    assert "laterality" not in both["series"][0]
    assert drafted(both, delta({}, "1.2.1.3")).missing == {key("1.2.1.1"), key("1.2.1.2")}
    assert merged(both, delta(left, "1.2.1.3")) == before
    assert drafted(before, delta({"1.2.2.1": image(1)})).missing == frozenset()
