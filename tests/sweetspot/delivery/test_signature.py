"""A signature proves who published exactly these bytes, and nothing else passes for one."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.delivery.manifest import canonical_json
from sweetspot.delivery.signature import key_id, public_hex, sign_manifest, signature_name, verify_signature
from sweetspot.errors import CheckError, ConfigError

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
PUBLIC = public_hex(KEY.public_key())
DATA = b'{"dataset":"tiny"}\n'


def verify(manifest=DATA, signature=None, public=PUBLIC):
    verify_signature(manifest, sign_manifest(DATA, KEY) if signature is None else signature, public, where="v1")


def test_the_publishers_own_signature_holds(manifest):
    data = canonical_json(manifest)
    verify_signature(data, sign_manifest(data, KEY), PUBLIC, where="v1")


def test_signing_again_gives_the_same_bytes_under_the_same_name():
    assert sign_manifest(DATA, KEY) == sign_manifest(DATA, KEY)
    assert signature_name(DATA) != signature_name(DATA + b" ")


def test_the_signature_verifies_with_the_library_alone():
    """An independent check needs the key, the bytes and one line: what SECURITY.md says."""
    made = json.loads(sign_manifest(DATA, KEY))
    KEY.public_key().verify(bytes.fromhex(made["signature"]), b"sweetspot manifest 1\n" + DATA)
    assert made["key_id"] == key_id(PUBLIC)


@settings(deadline=None)
@given(st.integers(0, 8 * len(DATA) - 1))
def test_any_flipped_bit_of_the_manifest_is_noticed(bit):
    flipped = bytearray(DATA)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CheckError, match="v1: the signature is not of this manifest"):
        verify(bytes(flipped))


@settings(deadline=None)
@given(st.integers(0, 8 * len(sign_manifest(DATA, KEY)) - 1))
def test_any_flipped_bit_of_the_signature_is_noticed_or_harmless(bit):
    flipped = bytearray(sign_manifest(DATA, KEY))
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        verify(signature=bytes(flipped))
    except CheckError:
        return
    # Only the informative fields may differ: the signature itself is intact.
    assert json.loads(bytes(flipped))["signature"] == json.loads(sign_manifest(DATA, KEY))["signature"]


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text().map(str.encode) | st.just(b"[" * 100_000))
def test_anything_else_is_refused_as_damaged(junk):
    with pytest.raises(CheckError, match="its signature is damaged, expected a signature by key"):
        verify(signature=junk)


def test_another_key_is_named():
    with pytest.raises(CheckError, match=f"signed by key '{key_id(public_hex(OTHER.public_key()))}', expected"):
        verify(signature=sign_manifest(DATA, OTHER))


def test_another_key_that_claims_ours_is_refused():
    forged = {**json.loads(sign_manifest(DATA, OTHER)), "key_id": key_id(PUBLIC)}
    with pytest.raises(CheckError, match="not of this manifest"):
        verify(signature=json.dumps(forged).encode())


def test_a_signature_made_for_something_else_is_worth_nothing():
    forged = {**json.loads(sign_manifest(DATA, KEY)), "signature": KEY.sign(DATA).hex()}
    with pytest.raises(CheckError, match="not of this manifest"):
        verify(signature=json.dumps(forged).encode())


def test_no_signature_is_no_good():
    with pytest.raises(CheckError, match="got no signature, expected a signature by key"):
        verify_signature(DATA, None, PUBLIC, where="v1")


@pytest.mark.parametrize("public", ["", "00", "x" * 64, "é" * 64])
def test_what_is_no_key_is_refused(public):
    with pytest.raises(ConfigError, match="expected the 64 hex digits"):
        verify(public=public)
