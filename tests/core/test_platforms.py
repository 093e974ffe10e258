"""Platforms have one name, whoever names them."""

import pytest
from unicorn_core.platforms import platform_name, same_platform


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("arm", "linux/arm/v7"),
        ("armv7l", "linux/arm/v7"),
        ("armv6l", "linux/arm/v6"),
        ("riscv64", "linux/riscv64"),
    ],
)
def test_architectures(architecture, name):
    assert platform_name(architecture) == name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/s390x", "linux/s390x"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_names(said, name):
    assert same_platform(said) == name
