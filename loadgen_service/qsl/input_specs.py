"""What a sample must look like: the server's metadata and the --shape flags, made one.

Decides whether requests carry a batch dimension, and says in one line how a data set differs from
what the server expects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from loadgen_service.errors import SettingsError, SutError
from loadgen_service.qsl.tensors import ANY_LENGTH, TensorMetadata, TensorSpec, checked_spec


def is_batched(inputs: Sequence[TensorMetadata], max_batch_size: int | None = None) -> bool:
    """Whether requests carry a batch dimension.

    ``max_batch_size``: of the model's configuration, 0 for a model that does not batch; None where
    the server shows none. Then every input must begin with an open dimension, which is KServe v2's
    custom for a batch.
    """
    if max_batch_size == 0:
        return False
    return bool(inputs) and all(_leads_open(tensor) for tensor in inputs)


def _leads_open(tensor: TensorMetadata) -> bool:
    return len(tensor.shape) > 0 and tensor.shape[0] == ANY_LENGTH


def parse_shape(flag: str) -> TensorSpec:
    """``NAME:DATATYPE:DIM,DIM`` of --shape; -1 first is the batch. Raises SettingsError."""
    name, _, rest = flag.rpartition(":")
    name, _, datatype = name.rpartition(":")
    try:
        shape = tuple(int(length) for length in rest.split(",")) if rest else ()
        if not name:
            raise ValueError
        return checked_spec(TensorSpec(name, datatype.upper(), shape))
    except ValueError:
        raise SettingsError(
            f"shape: {flag!r} is not NAME:DATATYPE:DIM,DIM, such as input:FP32:-1,3,224,224"
        ) from None
    except SutError as error:
        raise SettingsError(f"shape: {flag!r}: {error}") from None


def wanted_tensors(
    inputs: Sequence[TensorMetadata], batched: bool, shape_flags: Sequence[str]
) -> tuple[tuple[TensorSpec, ...], bool]:
    """Tensors of one sample, and whether requests have a batch dimension.

    Metadata goes first and --shape fills its open lengths; without metadata --shape stands alone,
    and without both the result is empty: the data set says. Raises SutError or SettingsError.
    """
    flags = {spec.name: spec for spec in map(parse_shape, shape_flags)}
    if not inputs:
        specs = tuple(flags.values())
        batched = is_batched(specs) if specs else True
        return tuple(_sample_spec(spec, batched) for spec in specs), batched
    specs = tuple(checked_spec(tensor) for tensor in inputs)
    unknown = sorted(flags.keys() - {spec.name for spec in specs})
    if unknown:
        raise SettingsError(
            f"shape: the model has no input {unknown[0]!r}; it has {names_of(specs)}"
        )
    batched = _batched_as_asked(specs, batched, flags)
    samples = (_sample_spec(spec, batched) for spec in specs)
    return tuple(_filled(spec, flags.get(spec.name), batched) for spec in samples), batched


def _batched_as_asked(
    specs: Sequence[TensorSpec], batched: bool, flags: Mapping[str, TensorSpec]
) -> bool:
    """What --shape makes of the server's word: a request has the shape that the flag says.

    A flag of the server's whole rank that begins with -1 names a batch; one that begins with a
    length of its own is sent as it stands.
    """
    whole = [
        (flag, spec)
        for spec in specs
        if (flag := flags.get(spec.name)) is not None and len(flag.shape) == len(spec.shape) > 0
    ]
    if any(_leads_open(flag) for flag, _ in whole):
        return batched or all(map(_leads_open, specs))
    return batched and all(flag.shape[0] == 1 for flag, _ in whole)


def names_of(specs: Sequence[TensorSpec]) -> str:
    """Names of tensors for an error line."""
    return ", ".join(repr(spec.name) for spec in specs) or "none"


def _sample_spec(spec: TensorSpec, batched: bool) -> TensorSpec:
    return replace(spec, shape=spec.shape[1:]) if batched else spec


def _filled(spec: TensorSpec, flag: TensorSpec | None, batched: bool) -> TensorSpec:
    """``spec`` with its open lengths taken from the flag, given with or without the batch."""
    if flag is None:
        return spec
    shape = flag.shape
    if batched and len(shape) == len(spec.shape) + 1:
        shape = shape[1:]
    asked = replace(spec, datatype=flag.datatype, shape=shape)
    if flag.datatype != spec.datatype or not fits(shape, spec.shape):
        raise SettingsError(f"shape: input {spec.name!r} is {spec} at the server, not {asked}")
    return asked


def fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a shape matches one that may have open lengths."""
    return len(shape) == len(wanted) and all(
        want in (ANY_LENGTH, have) for have, want in zip(shape, wanted, strict=True)
    )


def fitted_shape(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """``shape`` as the server wants it, or None. Leading 1s at the server are batches of one."""
    lead = len(wanted) - len(shape)
    if lead < 0 or any(length not in (1, ANY_LENGTH) for length in wanted[:lead]):
        return None
    full = (1,) * lead + shape
    return full if fits(full, wanted) else None


def mismatch(
    wanted: TensorSpec,
    given: TensorSpec,
    dataset: str,
    remedy: str = "choose another --dataset or --model",
) -> SutError:
    """The line that names the tensor, what the server expects and what the data set gives."""
    return SutError(
        f"input {wanted.name!r}: the server expects {wanted} a sample, {dataset} gives {given}; "
        f"{remedy}"
    )


def matched(wanted: TensorSpec, given: TensorSpec, dataset: str) -> TensorSpec:
    """The tensor as it will be sent. Raises SutError if datatype or shape do not match."""
    shape = fitted_shape(given.shape, wanted.shape)
    if wanted.datatype != given.datatype or shape is None:
        raise mismatch(wanted, given, dataset)
    return replace(wanted, shape=shape)


def only_input(wanted: Sequence[TensorSpec], given: TensorSpec, dataset: str) -> TensorSpec:
    """The single input that a data set of one tensor feeds; ``given`` where nothing is known.

    Raises SutError if the model has several inputs.
    """
    if len(wanted) > 1:
        raise SutError(
            f"the model has {len(wanted)} inputs ({names_of(wanted)}), {dataset} feeds one; "
            "give --dataset an .npz or .json with all of them"
        )
    return wanted[0] if wanted else given
