"""What fraudctl chooses once for a stack and then keeps for its life: zones, S3's prefix list, Kafdrop's image.

CloudFormation could look these up at each update, and would then replace what they are in: the order of ``Fn::GetAZs``
is not promised to stay, and a parameter of an SSM type follows every release of Amazon Linux.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.aws.errors import asking
from fraudctl.aws.session import AwsSession, items
from fraudctl.errors import BadConfig

ZONES: Final = ("ZoneA", "ZoneB")
PREFIX_LIST: Final = "S3PrefixListId"
IMAGE: Final = "KafdropImageId"
KAFDROP: Final = "KafdropEnabled"
# MSK takes no subnet in this zone: API reference, BrokerNodeGroupInfo.ClientSubnets.
REFUSED_BY_MSK: Final = frozenset({"use1-az3"})
INSTANCE_TYPE: Final = "t4g.small"
_NOTHING: Final[Mapping[str, str]] = {}
_LATEST_IMAGE: Final = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"


@dataclass(frozen=True, slots=True)
class Placement:
    """Looks up what a stack has not got yet."""

    session: AwsSession

    def missing(
        self, names: Collection[str], values: Mapping[str, str], before: Mapping[str, str] = _NOTHING
    ) -> dict[str, str]:
        """Return the parameters among `names` that `values` has not; what it has is not looked up again.

        `before` is what the stack has. Only Kafdrop's image is looked up again, when it has none of these instances.
        Raises `BadConfig` when the region has fewer than two zones for MSK, or none of them an instance for Kafdrop.
        """
        found: dict[str, str] = {}
        first = values.get(KAFDROP) == "true" and before.get(KAFDROP) != "true"
        if set(ZONES) <= set(names):
            chosen = self._zones({name: values[name] for name in ZONES if name in values}, kafdrop=first)
            found |= {name: zone for name, zone in chosen.items() if name not in values}
        if PREFIX_LIST in names and PREFIX_LIST not in values:
            found[PREFIX_LIST] = self._prefix_list()
        if IMAGE in names and (first or IMAGE not in values):
            found[IMAGE] = self._image()
        return found

    @property
    def _ec2(self) -> Any:  # noqa: ANN401 - a boto3 client
        return self.session.client("ec2")

    def _zones(self, given: Mapping[str, str], *, kafdrop: bool) -> dict[str, str]:
        """Return both zones. Kafdrop's subnet is in the first one, which has to offer its instance."""
        offering = self._offering() if kafdrop else None
        zones = dict(given)
        free = [zone for zone in self._available() if zone not in zones.values()] if len(zones) < len(ZONES) else []
        for name in ZONES:
            if name in zones:
                continue
            fitting = [zone for zone in free if name != ZONES[0] or offering is None or zone in offering]
            if not fitting and free:
                break  # there are zones, but none for Kafdrop
            if not fitting:
                raise BadConfig(
                    f"region {self.session.region}: it has fewer than two zones in which MSK runs",
                    hint="name another one with --region",
                )
            zones[name] = fitting[0]
            free.remove(fitting[0])
        if offering is not None and zones.get(ZONES[0]) not in offering:
            where = zones.get(ZONES[0]) or f"any zone of {self.session.region}"
            raise BadConfig(
                f"Kafdrop: there is no {INSTANCE_TYPE} in {where}",
                hint="deploy without it: `fraudctl deploy --set KafdropEnabled=false`",
            )
        return zones

    def _available(self) -> list[str]:
        """Return the zones in which MSK runs, sorted by name."""
        wanted = [
            {"Name": "state", "Values": ["available"]},
            {"Name": "zone-type", "Values": ["availability-zone"]},
        ]
        with asking("availability zones"):
            found = self._ec2.describe_availability_zones(Filters=wanted)["AvailabilityZones"]
        return sorted(zone["ZoneName"] for zone in found if zone.get("ZoneId") not in REFUSED_BY_MSK)

    def _offering(self) -> frozenset[str]:
        """Return the zones that have Kafdrop's instance type."""
        arguments: dict[str, Any] = {
            "LocationType": "availability-zone",
            "Filters": [{"Name": "instance-type", "Values": [INSTANCE_TYPE]}],
        }
        with asking("instance types"):
            found = items(self._ec2, "describe_instance_type_offerings", "InstanceTypeOfferings", **arguments)
            return frozenset(offer["Location"] for offer in found)

    def _prefix_list(self) -> str:
        """Return the id of the addresses of S3 in this region."""
        name = f"com.amazonaws.{self.session.region}.s3"
        wanted = [{"Name": "prefix-list-name", "Values": [name]}]
        with asking(f"prefix list {name}"):
            found = list(items(self._ec2, "describe_managed_prefix_lists", "PrefixLists", Filters=wanted))
        if not found:
            raise BadConfig(f"prefix list {name}: the region has none", hint="name another region with --region")
        return str(found[0]["PrefixListId"])

    def _image(self) -> str:
        """Return the newest Amazon Linux 2023 for ARM."""
        with asking("image of Amazon Linux"):
            return str(self.session.client("ssm").get_parameter(Name=_LATEST_IMAGE)["Parameter"]["Value"])
