"""systems/<system>.json: its fields, their template, and what a description still lacks.

Source: specification 8.2. Names every miss at once; decides nothing about results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

REQUIRED: Final[Mapping[str, str]] = {
    "division": "closed, open or network",
    "submitter": "your organisation, as the folder is named",
    "status": "available, preview or rdi",
    "system_name": "",
    "system_type": "datacenter, edge, or datacenter,edge",
    "system_type_detail": "",
    "number_of_nodes": "a whole number",
    "host_processor_model_name": "",
    "host_processors_per_node": "a whole number",
    "host_processor_core_count": "a whole number",
    "host_processor_frequency": "",
    "host_processor_caches": "",
    "host_processor_interconnect": "",
    "host_memory_capacity": "as 768 GB",
    "host_memory_configuration": "",
    "host_storage_type": "",
    "host_storage_capacity": "",
    "host_networking": "",
    "host_networking_topology": "",
    "host_network_card_count": "",
    "accelerators_per_node": 'a whole number as text; "0" without accelerators',
    "accelerator_model_name": "N/A without accelerators",
    "accelerator_host_interconnect": "",
    "accelerator_frequency": "",
    "accelerator_on-chip_memories": "",
    "accelerator_memory_configuration": "",
    "accelerator_memory_capacity": "",
    "accelerator_interconnect": "",
    "accelerator_interconnect_topology": "",
    "cooling": "",
    "framework": "",
    "operating_system": "",
    "other_software_stack": "",
    "hw_notes": "",
    "sw_notes": "",
}
"""Every field that must be there, and what its value is where the name does not say it."""

MAY_BE_EMPTY: Final = frozenset(
    {
        "host_processor_frequency",
        "host_processor_caches",
        "host_processor_interconnect",
        "accelerator_frequency",
        "accelerator_interconnect_topology",
        "accelerator_on-chip_memories",
        "hw_notes",
        "sw_notes",
        "system_type_detail",
    }
)

NETWORK: Final[Mapping[str, str]] = {
    "is_network": 'the text "true"',
    "network_type": "as Ethernet",
    "network_media": "as Copper",
    "network_rate": "as 100 Gb/s",
    "nic_loadgen": "",
    "number_nic_loadgen": "",
    "net_software_stack_loadgen": "",
    "network_protocol": "as gRPC over HTTP/2",
    "number_connections": "",
    "nic_sut": "",
    "number_nic_sut": "",
    "net_software_stack_sut": "",
    "network_topology": "",
}
"""Fields of a system that is measured over a network: the network division's."""

CATEGORIES: Final = ("available", "preview", "rdi")
DIVISIONS: Final = ("closed", "open", "network")
SYSTEM_TYPES: Final = ("datacenter", "edge", "datacenter,edge", "edge,datacenter")
_NUMBERS: Final = ("number_of_nodes", "accelerators_per_node")


def template(division: str, category: str = "", submitter: str = "") -> dict[str, str]:
    """Every field, empty but for what is known. ``is_network`` is there for that division only."""
    fields = dict.fromkeys(REQUIRED, "")
    fields |= {"division": division, "status": category, "submitter": submitter}
    if division == "network":
        fields |= {**dict.fromkeys(NETWORK, ""), "is_network": "true"}
    return fields


def system_misses(
    system: Mapping[str, Any], division: str, submitter: str, category: str = ""
) -> list[str]:
    """What the description lacks, one line a field, in the template's order."""
    return [
        *_fields(system, REQUIRED, MAY_BE_EMPTY),
        *_choices(system, division, submitter, category),
        *_whole_numbers(system),
        *_network(system, division),
    ]


def _fields(
    system: Mapping[str, Any], wanted: Mapping[str, str], may_be_empty: frozenset[str]
) -> Iterator[str]:
    for name, hint in wanted.items():
        if name not in system:
            yield f"{name}: missing" + (f" ({hint})" if hint else "")
        elif not system[name] and name not in may_be_empty:
            yield f"{name}: empty; say it, or N/A" + (f" ({hint})" if hint else "")


def _choices(
    system: Mapping[str, Any], division: str, submitter: str, category: str
) -> Iterator[str]:
    wanted: dict[str, Sequence[str]] = {
        "division": (division,),
        "submitter": (submitter,),
        "status": (category,) if category else CATEGORIES,
        "system_type": SYSTEM_TYPES,
    }
    for name, allowed in wanted.items():
        value = str(system.get(name) or "")
        if value and value.lower() not in [one.lower() for one in allowed]:
            yield f"{name}: is {value!r}, must be {' or '.join(allowed)}"


def _whole_numbers(system: Mapping[str, Any]) -> Iterator[str]:
    for name in _NUMBERS:
        value = system.get(name)
        if not value:
            continue
        try:
            int(value)
        except (TypeError, ValueError):
            yield f"{name}: is {value!r}, must be a whole number"


def _network(system: Mapping[str, Any], division: str) -> Iterator[str]:
    said = system.get("is_network")
    if isinstance(said, bool):
        yield 'is_network: must be the text "true", not JSON\'s true or false'
        said = "true" if said else ""
    if division == "network":
        if str(said or "").lower() != "true":
            yield 'is_network: must be the text "true" in the network division'
        others = {name: hint for name, hint in NETWORK.items() if name != "is_network"}
        yield from _fields(system, others, frozenset())
    elif said:
        if division == "closed":
            yield "is_network: leave it out in the closed division; such systems are network's"
        else:
            yield from _fields(system, NETWORK, frozenset())
