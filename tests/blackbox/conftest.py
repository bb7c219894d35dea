"""Fixtures of the black-box tests: one `apus saio` per module and its clients."""

import time

import pytest

from apus_testing.saio import Saio


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Saio(tmp_path_factory.mktemp("saio") / "data", "--dev-users").start()
    yield cluster
    assert cluster.stop() == 0


@pytest.fixture
def s3(cluster):
    return cluster.s3()


@pytest.fixture
def swift(cluster):
    return cluster.swift()


@pytest.fixture
def bucket(cluster, s3):
    name = f"b-{time.time_ns()}"
    s3.create_bucket(Bucket=name)
    return name
