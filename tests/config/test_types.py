"""How values of settings are shown; how they are read is tested with the settings themselves."""

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ByteSize, SecretStr, TypeAdapter

from receiver.config import types


@given(st.integers(0, 1 << 50) | st.integers(0, 1 << 12).map(lambda n: n << 20))
def test_a_size_is_shown_as_it_may_be_set_again(size: int) -> None:
    adapter = TypeAdapter(ByteSize)
    assert size == adapter.validate_python(types.shown(adapter.validate_python(size)))


def test_sizes_and_times_are_shown_as_people_write_them() -> None:
    sizes = {10 << 30: "10GiB", 1536 << 20: "1536MiB", 128 << 10: "128KiB", 1000: "1000", 0: "0"}
    assert list(sizes.values()) == [types.shown(ByteSize(size)) for size in sizes]
    assert ["300", "0.5", "", "a,***"] == list(
        map(types.shown, (300.0, 0.5, None, ("a", SecretStr("b"))))
    )
