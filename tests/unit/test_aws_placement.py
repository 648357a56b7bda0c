"""What is chosen once for a stack: zones that MSK takes, S3's addresses, Kafdrop's image."""

from typing import Any

import pytest
from stubs import REGION, Aws

from fraudctl.aws.placement import Placement
from fraudctl.errors import BadConfig

ALL = ("ZoneA", "ZoneB", "S3PrefixListId", "KafdropImageId", "HoldMs")
ZONES = ("ZoneA", "ZoneB")
KEPT = {"ZoneA": "eu-west-1c", "ZoneB": "eu-west-1a", "S3PrefixListId": "pl-1", "KafdropImageId": "ami-1"}


def zones(aws: Aws, *found: tuple[str, str]) -> None:
    """Expect the question for the zones."""
    wanted = [
        {"Name": "state", "Values": ["available"]},
        {"Name": "zone-type", "Values": ["availability-zone"]},
    ]
    listed = [{"ZoneName": name, "ZoneId": identifier} for name, identifier in found]
    aws.on("ec2").describe_availability_zones(Filters=wanted).returns({"AvailabilityZones": listed})


def offerings(aws: Aws, *places: str) -> None:
    """Expect the question where Kafdrop's instance type is offered."""
    aws.on("ec2").describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["t4g.small"]}]
    ).returns({"InstanceTypeOfferings": [{"InstanceType": "t4g.small", "Location": place} for place in places]})


def image(aws: Aws, found: str) -> None:
    """Expect the question for the newest image."""
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
    aws.on("ssm").get_parameter(Name=name).returns({"Parameter": {"Value": found}})


def test_the_zone_that_msk_refuses_is_left_out() -> None:
    """use1-az3 has another letter in each account; the order of the answer does not matter."""
    with Aws() as aws:
        zones(aws, ("us-east-1c", "use1-az4"), ("us-east-1a", "use1-az3"), ("us-east-1b", "use1-az1"))
        found = Placement(aws.session()).missing(ZONES, {})
    assert found == {"ZoneA": "us-east-1b", "ZoneB": "us-east-1c"}


def test_what_a_stack_has_is_not_looked_up_again() -> None:
    """No call at all: a zone that AWS adds, or a new image, changes no stack."""
    with Aws() as aws:
        subject = Placement(aws.session())
        assert subject.missing(ALL, {**KEPT, "KafdropEnabled": "false"}, KEPT) == {}
        kafdrop = {**KEPT, "KafdropEnabled": "true"}
        assert subject.missing(ALL, kafdrop, kafdrop) == {}


def test_switching_kafdrop_on_takes_the_newest_image() -> None:
    """What was looked up with the stack may be years old by then; it is in no instance."""
    with Aws() as aws:
        offerings(aws, "eu-west-1a", "eu-west-1c")
        image(aws, "ami-2")
        found = Placement(aws.session()).missing(ALL, {**KEPT, "KafdropEnabled": "true"}, KEPT)
    assert found == {"KafdropImageId": "ami-2"}


def test_a_zone_that_a_person_names_is_kept() -> None:
    """The other one is chosen beside it."""
    with Aws() as aws:
        zones(aws, ("eu-west-1a", "euw1-az1"), ("eu-west-1b", "euw1-az2"))
        found = Placement(aws.session()).missing(ZONES, {"ZoneB": "eu-west-1a"})
    assert found == {"ZoneA": "eu-west-1b"}


def test_kafdrop_goes_where_its_instance_is_offered() -> None:
    """Its subnet is in the first zone; the image is resolved once, the prefix list by its name."""
    with Aws() as aws:
        offerings(aws, "eu-west-1b", "eu-west-1c")
        zones(aws, ("eu-west-1a", "euw1-az1"), ("eu-west-1b", "euw1-az2"), ("eu-west-1c", "euw1-az3"))
        aws.on("ec2").describe_managed_prefix_lists(
            Filters=[{"Name": "prefix-list-name", "Values": [f"com.amazonaws.{REGION}.s3"]}]
        ).returns({"PrefixLists": [{"PrefixListId": "pl-6da54004"}]})
        image(aws, "ami-0abc")
        found = Placement(aws.session()).missing(ALL, {"KafdropEnabled": "true"})
    assert found == {
        "ZoneA": "eu-west-1b",
        "ZoneB": "eu-west-1a",
        "S3PrefixListId": "pl-6da54004",
        "KafdropImageId": "ami-0abc",
    }


@pytest.mark.parametrize(
    ("values", "available", "places", "message"),
    [
        ({}, (("us-east-1a", "use1-az3"), ("us-east-1b", "use1-az1")), None, "fewer than two zones in which MSK runs"),
        ({"KafdropEnabled": "true"}, (("eu-west-1a", "euw1-az1"),), ("eu-west-1z",), "no t4g.small in any zone"),
        ({"KafdropEnabled": "true", **KEPT}, None, ("eu-west-1a",), "there is no t4g.small in eu-west-1c"),
    ],
)
def test_a_region_without_room_is_refused_before_anything_is_made(
    values: dict[str, str], available: Any, places: Any, message: str
) -> None:
    """It would fail twenty minutes later; a stack that stands does not move for Kafdrop."""
    with Aws() as aws:
        if places is not None:
            offerings(aws, *places)
        if available is not None:
            zones(aws, *available)
        with pytest.raises(BadConfig, match=message):
            Placement(aws.session()).missing(ZONES, values)
