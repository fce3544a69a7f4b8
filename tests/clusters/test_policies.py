"""The policies for the bucket allow the calls that the store makes, and no others."""

from __future__ import annotations

import ast
import json
from typing import Any

import yaml

from tests.helpers.cluster_files import ROOT

POLICIES = ROOT / "docs/policies"
AWS = {
    "get_object": {"s3:GetObject"},
    "head_object": {"s3:GetObject"},
    "put_object": {"s3:PutObject"},
    "create_multipart_upload": {"s3:PutObject"},
    "upload_part": {"s3:PutObject"},
    "complete_multipart_upload": {"s3:PutObject"},
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "delete_object": {"s3:DeleteObject"},
    "list_objects_v2": {"s3:ListBucket"},
    "list_multipart_uploads": {"s3:ListBucketMultipartUploads"},
}
"""Call to the rights that it takes, as AWS documents them."""
GOOGLE = {
    "get_object": {"storage.objects.get"},
    "head_object": {"storage.objects.get"},
    "put_object": {"storage.objects.create", "storage.objects.delete"},  # the latter to replace one
    "create_multipart_upload": {"storage.multipartUploads.create"},
    "upload_part": {"storage.multipartUploads.create"},
    "complete_multipart_upload": {
        "storage.multipartUploads.create",
        "storage.objects.create",
        "storage.objects.delete",
    },
    "abort_multipart_upload": {"storage.multipartUploads.abort"},
    "delete_object": {"storage.objects.delete"},
    "list_objects_v2": {"storage.objects.list"},
    "list_multipart_uploads": {"storage.multipartUploads.list"},
}


def calls(source: str) -> set[str]:
    """Operations of S3 that a module of the store asks for: the second argument of every `.call`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "call":
            operation = node.args[1]
            assert isinstance(operation, ast.Constant), ast.unparse(node)
            found.add(str(operation.value))
    return found


def made() -> set[str]:
    """Operations of S3 that the store asks for."""
    modules = (ROOT / "fod_bench/store").rglob("*.py")
    return set().union(*(calls(module.read_text(encoding="utf-8")) for module in modules))


def rights(operations: set[str], needed: dict[str, set[str]]) -> set[str]:
    """The rights for these operations."""
    return set().union(*(needed[operation] for operation in operations))


def allowed(statements: list[dict[str, Any]]) -> dict[str, str]:
    """Right to the resource it is given on."""
    return {action: statement["Resource"] for statement in statements for action in statement["Action"]}


def statements(name: str) -> list[dict[str, Any]]:
    """Those of one of AWS's policies."""
    policy = json.loads((POLICIES / name).read_text(encoding="utf-8"))
    assert policy["Version"] == "2012-10-17"
    assert all(statement["Effect"] == "Allow" for statement in policy["Statement"])
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def test_the_policy_for_aws_allows_what_the_store_does() -> None:
    (store,) = ([one for one in statements("aws-bucket.json") if one["Sid"].startswith("Store")],)
    given = allowed(store)
    assert set(given) == rights(made(), AWS)
    for right, resource in given.items():
        assert resource == f"arn:aws:s3:::BUCKET{'' if 'ListBucket' in right else '/fod-bench/*'}"


def test_the_policy_for_aws_gives_data_sets_to_be_read_only() -> None:
    (data,) = ([one for one in statements("aws-bucket.json") if one["Sid"].startswith("Data")],)
    assert allowed(data) == {"s3:GetObject": "arn:aws:s3:::BUCKET/data/*"}


def test_the_role_for_google_allows_what_the_store_does() -> None:
    role = yaml.safe_load((POLICIES / "gcp-bucket-role.yaml").read_text(encoding="utf-8"))
    assert set(role["includedPermissions"]) == rights(made(), GOOGLE)


def test_the_policy_of_a_head_starts_and_ends_machines_and_nothing_wider() -> None:
    given = allowed(statements("aws-head.json"))
    assert given["iam:PassRole"] == "arn:aws:iam::ACCOUNT:role/fod-bench-worker"
    assert not any("*" in right for right in given) and all(
        right.startswith(("ec2:", "iam:Pass", "ssm:Get")) for right in given
    )


def test_calls_are_found() -> None:
    assert {"put_object", "list_objects_v2", "abort_multipart_upload"} <= made()
    assert calls("connection.call('read', 'copy_object', Key=key)") == {"copy_object"}
