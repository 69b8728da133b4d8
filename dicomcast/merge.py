"""What stands in FHIR and what a delta says, made one ImagingStudy. Pure.

One merge serves a delta of the live tail and a snapshot. A series and a study have their attributes
from the instance that *speaks* for them: the smallest (rank of its SOP class, series number, instance
number, SOPInstanceUID). The resource carries that key for every instance that it lists, so a merge
agrees with a snapshot with no state beside the resource. When a speaker has left, `Draft.missing`
names the instances that speak now and whose metadata must be read before the draft can be finished.

A study of more instances than the rules let it list has counts alone. Then nobody knows whether an instance is new
to it, and what becomes of it is told by a snapshot only: `Draft.whole`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dicomcast.identity import origin, origin_of, owns, sourced
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.disagreement import contradictions
from dicomcast.mapping.instance import INSTANCE, sop_class_of, voice
from dicomcast.mapping.rows import Facts
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.series import SERIES, names_sides
from dicomcast.mapping.study import STUDY
from dicomcast.mapping.tags import tag
from dicomcast.mapping.terminology import is_acquisition, modality
from dicomcast.mapping.values import JSON, is_id, without_empty
from dicomcast.model import Extra, Instance, InstanceKey, Issue, Severity, StudyDelta, StudyKey
from dicomcast.ours import is_annotated, lay_study_over
from dicomcast.overlay import leads_to, listed, overlay, settle

__all__ = ["Draft", "Links", "annotated", "draft", "hung_on", "merge_study"]


@dataclass(slots=True)
class _Series:
    """A series of the draft: the element that stood there, and its instances by SOPInstanceUID.

    `elements` are its attributes as mapped anew, None while they stay as they stood. `counted` is how many instances
    it has where `instances` are only some of them.
    """

    uid: str
    before: JSON
    instances: dict[str, JSON]
    ours: bool
    elements: JSON | None = None
    counted: int | None = None

    @property
    def attributes(self) -> JSON:
        return self.before if self.elements is None else self.elements

    @property
    def number(self) -> float:
        return _number(self.attributes)

    @property
    def count(self) -> int:
        return len(self.instances) if self.counted is None else self.counted

    @property
    def keys(self) -> set[InstanceKey]:
        return {InstanceKey(self.uid, uid) for uid in self.instances}

    @property
    def speaker(self) -> InstanceKey:
        return InstanceKey(self.uid, min(self.instances, key=lambda uid: voice(uid, self.instances[uid])))

    @property
    def by_predecessor(self) -> bool:
        """Whether DICOM Cast wrote it, and nobody since: it named its code system by no URI."""
        modality = self.attributes.get("modality")
        return isinstance(modality, dict) and modality.get("system") == "DCM"

    @property
    def names_sides(self) -> bool:
        sop_class = sop_class_of(self.instances[self.speaker.instance_uid]) if self.instances else ""
        return names_sides(self.attributes.get("modality"), sop_class)


@dataclass(slots=True)
class Draft:
    """What a study holds after a delta.

    `speaker` speaks for the study (None: nothing is left), `dataset` is its metadata where the delta
    has it, `missing` whose metadata must be read first. `odd` is what stood among the series and is none. With `whole`
    it is no draft: the study must be read whole first.
    """

    series: list[_Series]
    speaker: InstanceKey | None
    dataset: Dataset | None
    missing: frozenset[InstanceKey]
    issues: list[Issue] = field(default_factory=list)
    odd: list[Any] = field(default_factory=list)
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Links:
    """Where a study hangs: `subject` (None: where it hung), its Endpoint's reference, its `meta.source`.

    `base` is the FHIR server's base URL. Mapped offline, a study has nothing of these: they are "".
    """

    subject: JSON | None
    endpoint: str
    source: str
    base: str = ""


def draft(existing: JSON | None, delta: StudyDelta, rules: Rules, endpoint: str, base: str = "") -> Draft:
    """Apply a delta, instance by instance, to what stands in FHIR; `endpoint` and `base` as in `Links`."""
    owned = existing is None or owns(delta.key, existing)
    series, odd = _holdings(existing, lambda element: owned or _refers(element, endpoint, base))
    if not delta.snapshot and any(one.ours and _lists_too_few(one) for one in series.values()):
        return Draft([], None, None, frozenset(), whole=True)
    # Who spoke when the attributes that stand there were mapped. Attributes that others wrote came
    # from nobody knows which instance, so there the speaker is always read anew.
    # What DICOM Cast wrote has to be said anew, as a whole: it may be nothing that a server takes again.
    theirs = {one.uid for one in series.values() if one.ours and one.by_predecessor}
    spoke = {one.speaker for one in series.values() if one.ours and one.instances and one.uid not in theirs}
    spoken_for = owned and not theirs and isinstance((existing or {}).get("subject"), dict)
    study_spoke = _speaker(series.values()) if spoken_for else None

    issues: list[Issue] = []
    delta = replace(delta, instances=dict(_listable(delta.instances, issues)))
    # A foreign series that the archive holds too is the archive's from now on, and told anew as a whole.
    held = {key.series_uid for key in delta.instances}
    claimed = {uid for uid in held if uid in series and not series[uid].ours}
    for uid in claimed:
        series[uid].ours = True
    _remove(series, delta)
    told = {key: one.metadata for key, one in delta.instances.items() if one.metadata is not None}
    datasets = {key: Dataset(metadata, issues) for key, metadata in told.items()}
    _put(series, datasets, rules)
    for uid, count in delta.counts.items():
        if uid in series:
            series[uid].counted = count
    missing = set(delta.instances.keys() - datasets.keys())
    speakers = []
    changed = held | {key.series_uid for key in delta.deleted}
    for one in series.values():
        speaks = one.speaker if one.instances else None
        if speaks in datasets:
            speakers.append(told[speaks])
            images = (dataset for key, dataset in datasets.items() if key.series_uid == one.uid)
            one.elements = SERIES.elements(Facts(datasets[speaks], rules, images=images))
        elif speaks and one.ours and speaks not in spoke:
            missing.add(speaks)
        if one.uid in claimed | theirs or (one.ours and one.uid in changed and one.names_sides):
            missing |= one.keys - datasets.keys()

    issues += contradictions(told.values(), speakers)
    left = [one for one in series.values() if one.instances or not one.ours]
    speaker = _speaker(one for one in left if one.ours)
    if speaker is not None and speaker not in datasets and speaker != study_spoke:
        missing.add(speaker)
    return Draft(left, speaker, datasets.get(speaker) if speaker else None, frozenset(missing), issues, odd)


def _listable(instances: Mapping[InstanceKey, Instance], issues: list[Issue]) -> Iterator[tuple[InstanceKey, Instance]]:
    """The instances whose UIDs FHIR can hold: one that it cannot must not cost the study the others."""
    for key, instance in instances.items():
        uids = {"SeriesInstanceUID": key.series_uid, "SOPInstanceUID": key.instance_uid}
        wrong = [Issue(tag(keyword), "not-an-id", Severity.ERROR) for keyword, uid in uids.items() if not is_id(uid)]
        issues += wrong
        if not wrong:
            yield key, instance


def _holdings(existing: JSON | None, is_ours: Callable[[JSON], bool]) -> tuple[dict[str, _Series], list[Any]]:
    """The series that stand there, and what stands among them and is none."""
    elements, odd = _split((existing or {}).get("series"))
    series = {}
    for element in elements:
        instances = {instance["uid"]: instance for instance in _split(element.get("instance"))[0]}
        series[element["uid"]] = _Series(element["uid"], element, instances, is_ours(element))
    return series, odd


def _lists_too_few(one: _Series) -> bool:
    """Whether a series has more instances than it lists."""
    count = one.before.get("numberOfInstances")
    return isinstance(count, int) and count > len(one.instances)


def annotated(study: JSON | None, rules: Rules) -> frozenset[InstanceKey]:
    """The instances on which others wrote something: these stay listed, however many there are."""
    series = _holdings(study, lambda _: True)[0].values()
    return frozenset(key for one in series for key in one.keys if is_annotated(one.instances[key.instance_uid], rules))


def _remove(series: dict[str, _Series], delta: StudyDelta) -> None:
    for one in series.values():
        if delta.snapshot and one.ours:
            one.instances = {
                uid: instance for uid, instance in one.instances.items() if InstanceKey(one.uid, uid) in delta.instances
            }
    for key in delta.deleted:
        if key.series_uid in series:
            series[key.series_uid].instances.pop(key.instance_uid, None)


def _put(series: dict[str, _Series], datasets: dict[InstanceKey, Dataset], rules: Rules) -> None:
    owned = INSTANCE.owned(rules)
    for key, dataset in datasets.items():
        one = series.setdefault(key.series_uid, _Series(key.series_uid, {"uid": key.series_uid}, {}, ours=True))
        before = one.instances.get(key.instance_uid, {"uid": key.instance_uid})
        one.instances[key.instance_uid] = overlay(before, INSTANCE.elements(Facts(dataset, rules)), owned)


def _speaker(series: Iterable[_Series]) -> InstanceKey | None:
    """Who speaks for the study: the best among those who speak for its series."""
    candidates = []
    for one in series:
        if one.instances:
            key = one.speaker
            best, number, uid = voice(key.instance_uid, one.instances[key.instance_uid])
            candidates.append(((best, one.number, number, uid, one.uid), key))
    return min(candidates)[1] if candidates else None


def _number(element: JSON) -> float:
    number = element.get("number")
    return number if isinstance(number, int) else math.inf


def _split(value: Any) -> tuple[list[JSON], list[Any]]:
    """The items of `series` or `instance`, and those that anyone may have written there and that have no uid."""
    named, odd = [], []
    for item in listed(value):
        if isinstance(item, dict) and isinstance(item.get("uid"), str):
            named.append(item)
        else:
            odd.append(item)
    return named, odd


def merge_study(
    existing: JSON | None, content: Draft, key: StudyKey, rules: Rules, links: Links, resource_id: str
) -> JSON:
    """The ImagingStudy of a draft that misses nothing. Equal to `existing` if there is nothing to write."""
    owned = existing is None or owns(key, existing)
    study = existing or {"resourceType": "ImagingStudy", "id": resource_id}
    if content.dataset is not None:
        elements = STUDY.elements(Facts(content.dataset, rules, key.study_uid))
        study = lay_study_over(study, elements, rules, owned=owned)
    mark = replace(links, endpoint="") if owned else links
    count = sum(one.count for one in content.series if one.ours)
    too_many = rules.most_listed is not None and count > rules.most_listed
    series = [_lay_series_over(one, rules, mark, too_many) for one in content.series]
    series.sort(key=lambda element: (_number(element), element["uid"]))
    study = overlay(study, {"modality": _modalities(series, everything=Extra.ALL_MODALITIES in rules.extras)}, ())
    derived: JSON = {
        "numberOfSeries": len(series),
        "numberOfInstances": sum(map(_count, series)),
        "endpoint": _with_endpoint(study, links),
        "series": [*series, *content.odd],
    }
    if owned:
        derived |= {"status": "available", "meta": _meta(study.get("meta"), links.source)}
    study = without_empty(study | derived)
    return study if links.subject is None else hung_on(links.subject, study, links.base)


def hung_on(subject: JSON, study: JSON, base: str) -> JSON:
    """The study with this `subject`: servers add a display to a reference, so what it refers to decides whether it
    changed."""
    before: Any = study.get("subject")
    if leads_to(before, subject["reference"], base):
        said = {name: settle(before.get(name), value) for name, value in subject.items() if name != "reference"}
        subject = {**before, **said}
    return study | {"subject": subject}


def _with_endpoint(element: JSON, links: Links) -> list[Any]:
    """The endpoints of a study or series, ours among them, unless it is ""."""
    before = listed(element.get("endpoint"))
    standing = not links.endpoint or _refers(element, links.endpoint, links.base)
    return before if standing else [{"reference": links.endpoint}, *before]


def _refers(element: JSON, endpoint: str, base: str) -> bool:
    """Servers add a display to a reference: it is the same Endpoint all the same."""
    return any(leads_to(one, endpoint, base) for one in listed(element.get("endpoint")))


def _meta(meta: Any, source: str) -> JSON:
    """`meta.source` stays while it names the same archive: a change of API version is no change of owner."""
    before = meta if isinstance(meta, dict) else {}
    return before if origin_of({"meta": before}) == origin(source) else sourced(before, source)


def _lay_series_over(one: _Series, rules: Rules, mark: Links, too_many: bool) -> JSON:
    """The element of a series. In a study of somebody else, `mark` has the Endpoint that tells it is ours.

    Where there are `too_many` instances, only those stay listed on which others wrote something.
    """
    if not one.ours:
        return one.before
    element = one.before if one.elements is None else overlay(one.before, one.elements, SERIES.owned(rules))
    if one.instances:
        some = [instance for instance in one.instances.values() if not too_many or is_annotated(instance, rules)]
        some.sort(key=lambda instance: (_number(instance), instance["uid"]))
        odd = _split(one.before.get("instance"))[1]
        element = element | {"numberOfInstances": one.count, "instance": [*some, *odd]}
        if not element["instance"]:
            del element["instance"]
    return element | {"endpoint": _with_endpoint(element, mark)} if mark.endpoint else element


def _count(series: JSON) -> int:
    """numberOfInstances of a series that others wrote may be more than it lists, and may not be there."""
    count = series.get("numberOfInstances")
    return count if isinstance(count, int) else len(listed(series.get("instance")))


def _modalities(series: list[JSON], *, everything: bool) -> list[JSON]:
    """The distinct modalities of the series, of acquisition alone or `everything`: (0008,0061) is in no instance."""
    modalities = (element.get("modality") for element in series)
    codes = (one.get("code") for one in modalities if isinstance(one, dict))
    distinct = sorted({code for code in codes if isinstance(code, str)})
    return [modality(code) for code in distinct if everything or is_acquisition(code)]
