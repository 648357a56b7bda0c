"""ministack with what the stack needs and ministack lacks; ``python shim.py`` runs in an environment of its own.

Added are the resource types of MSK and some of EC2, the topics of a cluster (in memory, no broker), the tags of a
stack's buckets, the operations of the Flink application, and faults on demand. Everything that ministack has already is
used as it is. Its tables are private, so its version is pinned in requirements.lock.

Environment: SHIM_FAULTS names a JSON file, ``{"create": {"AuditWriter": {"reason": "…", "after": 0, "times": 1}}}``. It
is read again at each step; ``update`` and ``delete`` work alike. While its ``held`` is true, no cluster is made ready.
With ``interfaces`` functions leave the network interfaces that they have in their subnets and groups.

SHIM_SERVICES names an address where the harness runs what AWS would run (tests/aws_services.py): functions are invoked
there, and the Flink application is started and stopped there. Without it neither runs.

``calls`` is a list of what happens to requests before ministack sees them, or to its answers. `match` is an expression
over ``service METHOD path operation``; each entry counts for the first `times` requests that match it, or with `each`
for the first of every different match. With `code` and `status` they are refused in the words of their protocol, where
``throttle`` stands for the service's own; `merge` changes a JSON answer.
"""

import asyncio
import base64
import json
import os
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote
from urllib.request import Request, urlopen

Properties = dict[str, Any]
Made = tuple[str, dict[str, Any]]

_ec2: Any = import_module("ministack.services.ec2")
_s3: Any = import_module("ministack.services.s3")
_msk: Any = import_module("ministack.services.msk")
_flink: Any = import_module("ministack.services.kinesisanalyticsv2")
_stacks: Any = import_module("ministack.services.cloudformation.stacks")
_provisioners: Any = import_module("ministack.services.cloudformation.provisioners")

_FAULTS: Final = Path(os.environ.get("SHIM_FAULTS", "/nonexistent"))
_HANDLERS: Final[dict[str, dict[str, Any]]] = _provisioners._RESOURCE_HANDLERS
_IMAGES: Final = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default"
_topics: dict[str, dict[str, Properties]] = {}
_operations: dict[str, list[Properties]] = {}
_used: dict[str, int] = {}
_rules: dict[str, tuple[str, str, list[Any]]] = {}


def _register(kind: str, create: Any, delete: Any, update: Any = None, replacing: tuple[str, ...] = ()) -> None:
    _HANDLERS[kind] = {"create": create, "delete": delete}
    if update is not None:
        _HANDLERS[kind]["update"] = update
    _provisioners._REPLACING_PROPERTIES[kind] = frozenset(replacing)


def _identifier(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:17]}"


def _query(**values: Any) -> dict[str, list[str]]:
    return {name.replace("__", "."): [str(value)] for name, value in values.items() if value is not None}


def _text(answer: tuple[int, Any, bytes | str], tag: str) -> str:
    status, _, body = answer
    text = body.decode() if isinstance(body, bytes) else body
    found = re.search(f"<{tag}>([^<]*)</{tag}>", text)
    if status >= 400 or not found:
        raise ValueError(text)
    return found.group(1)


# --- EC2 --------------------------------------------------------------------------------------------------------------


def _create_address(_name: str, properties: Properties, _stack: str) -> Made:
    answer = _ec2._allocate_address(_query(Domain="vpc"))
    allocation, address = _text(answer, "allocationId"), _text(answer, "publicIp")
    _provisioners._ec2_apply_tags(allocation, properties)
    return address, {"AllocationId": allocation, "PublicIp": address}


def _delete_address(physical: str, _properties: Properties) -> None:
    for allocation, found in list(_ec2._addresses.items()):
        if found["PublicIp"] == physical:
            _ec2._release_address(_query(AllocationId=allocation))


def _offerings(parameters: Any) -> Any:
    """Answer that every instance type is offered in every zone."""
    kind = re.findall(r"[a-z]+\d[a-z]*\.[a-z0-9]+", str(parameters))[0]
    zones = re.findall(r"<zoneName>([^<]*)</zoneName>", _ec2._describe_availability_zones({})[2].decode())
    items = "".join(
        f"<item><instanceType>{kind}</instanceType><locationType>availability-zone</locationType>"
        f"<location>{zone}</location></item>"
        for zone in zones
    )
    return _ec2._xml(
        200, "DescribeInstanceTypeOfferingsResponse", f"<instanceTypeOfferingSet>{items}</instanceTypeOfferingSet>"
    )


def _create_gateway(_name: str, properties: Properties, _stack: str) -> Made:
    answer = _ec2._create_nat_gateway(
        _query(SubnetId=properties["SubnetId"], AllocationId=properties.get("AllocationId"))
    )
    made = _text(answer, "natGatewayId")
    _provisioners._ec2_apply_tags(made, properties)
    return made, {"NatGatewayId": made}


def _delete_gateway(physical: str, _properties: Properties) -> None:
    _ec2._delete_nat_gateway(_query(NatGatewayId=physical))


def _create_instance(_name: str, properties: Properties, _stack: str) -> Made:
    answer = _ec2._run_instances(
        _query(
            ImageId=properties.get("ImageId"),
            InstanceType=properties.get("InstanceType"),
            SubnetId=properties.get("SubnetId"),
            MinCount=1,
            MaxCount=1,
        )
    )
    made = _text(answer, "instanceId")
    _provisioners._ec2_apply_tags(made, properties)
    return made, {"InstanceId": made}


def _delete_instance(physical: str, _properties: Properties) -> None:
    _ec2._terminate_instances(_query(InstanceId__1=physical))


def _rule(direction: str) -> tuple[Callable[..., Made], Callable[..., None]]:
    def create(_name: str, properties: Properties, _stack: str) -> Made:
        group = _ec2._security_groups.get(properties["GroupId"])
        if group is None:
            raise ValueError(f"The security group '{properties['GroupId']}' does not exist")
        made = _provisioners._ec2_sg_permissions([properties])
        group[direction].extend(made)
        identifier = _identifier("sgr")
        _rules[identifier] = (properties["GroupId"], direction, made)
        return identifier, {"Id": identifier}

    def delete(physical: str, _properties: Properties) -> None:
        name, where, made = _rules.pop(physical, ("", "", []))
        group = _ec2._security_groups.get(name)
        for permission in made if group else []:
            group[where].remove(permission)

    return create, delete


# --- S3 ---------------------------------------------------------------------------------------------------------------


def _tagged_buckets(handler: dict[str, Any]) -> dict[str, Any]:
    """Let a bucket of a stack bear its tags: ministack makes it without them."""

    def create(name: str, properties: Properties, stack: str) -> Any:
        made = handler["create"](name, properties, stack)
        _s3._bucket_tags[made[0]] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
        return made

    return {**handler, "create": create}


# --- MSK --------------------------------------------------------------------------------------------------------------


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: _camel(item) for key, item in value.items()}
    return [_camel(item) for item in value] if isinstance(value, list) else value


def _answer(answer: tuple[int, Any, bytes | str]) -> Properties:
    status, _, body = answer
    document: Properties = json.loads(body or b"{}")
    if status >= 400:
        raise ValueError(document.get("Message") or document.get("message"))
    return document


def _create_configuration(_name: str, properties: Properties, _stack: str) -> Made:
    made = _answer(
        _msk._create_configuration(
            json.dumps(
                {
                    "name": properties["Name"],
                    "kafkaVersions": properties.get("KafkaVersionsList", []),
                    "serverProperties": base64.b64encode(properties["ServerProperties"].encode()).decode(),
                }
            )
        )
    )
    return made.get("Arn") or made["arn"], {"Arn": made.get("Arn") or made["arn"], "LatestRevision.Revision": "1"}


def _delete_configuration(physical: str, _properties: Properties) -> None:
    _msk._configurations.pop(physical, None)
    _msk._config_revisions.pop(physical, None)


def _create_cluster(_name: str, properties: Properties, _stack: str) -> Made:
    while _orders().get("held"):
        time.sleep(0.05)
    wanted = _camel({key: value for key, value in properties.items() if key != "Tags"})
    wanted["tags"] = properties.get("Tags", {})
    made = _answer(_msk._create_cluster(json.dumps(wanted)))
    arn = made.get("ClusterArn") or made["clusterArn"]
    _topics[arn] = {}
    return arn, {"Arn": arn, "CurrentVersion": "K3AEGXETSR30VB"}


def _update_cluster(physical: str, _old: Properties, properties: Properties, _stack: str) -> Made:
    _msk._clusters[physical]["BrokerNodeGroupInfo"] = _camel(properties["BrokerNodeGroupInfo"])
    return physical, {"Arn": physical, "CurrentVersion": "K3AEGXETSR30VB"}


def _delete_cluster(physical: str, _properties: Properties) -> None:
    _answer(_msk._delete_cluster(physical))
    _topics.pop(physical, None)


def _topic_arn(cluster: str, name: str) -> str:
    return cluster.replace(":cluster/", ":topic/") + f"/{name}"


def _create_topic(_name: str, properties: Properties, _stack: str) -> Made:
    cluster, name = properties["ClusterArn"], properties["TopicName"]
    lines = base64.b64decode(properties.get("Configs", "")).decode().split()
    if any("=" not in line for line in lines):
        raise ValueError(f"Configs of {name} is not made of key=value lines")
    if name in _topics[cluster]:
        raise ValueError(f"Topic {name} already exists")
    _topics[cluster][name] = {
        "PartitionCount": int(properties["PartitionCount"]),
        "ReplicationFactor": int(properties["ReplicationFactor"]),
        "Configs": properties.get("Configs", ""),
    }
    return _topic_arn(cluster, name), {"TopicArn": _topic_arn(cluster, name)}


def _update_topic(physical: str, _old: Properties, properties: Properties, _stack: str) -> Made:
    found = _topics[properties["ClusterArn"]][properties["TopicName"]]
    found |= {"PartitionCount": int(properties["PartitionCount"]), "Configs": properties.get("Configs", "")}
    return physical, {"TopicArn": physical}


def _delete_topic(_physical: str, properties: Properties) -> None:
    _topics.get(properties["ClusterArn"], {}).pop(properties["TopicName"], None)


_ALL_TOPICS: Final = re.compile(r"/v1/clusters/(.+?)/topics")
_ONE_CLUSTER: Final = re.compile(r"/api/v2/clusters/(.+)")
_ONE_TOPIC: Final = re.compile(r"/v1/clusters/(.+?)/topics/([^/]+)")


async def _kafka(method: str, path: str, headers: Any, body: Any, query: dict[str, list[str]]) -> Any:
    if path == "/api/v2/clusters" and method == "GET":
        wanted = query.get("clusterNameFilter", [""])[0]
        found = [
            {key: item[key] for key in ("ClusterArn", "ClusterName", "State", "Tags")} | {"ClusterType": "PROVISIONED"}
            for item in _msk._clusters.values()
            if item["ClusterName"].startswith(wanted)
        ]
        return _msk._json(_camel_keys({"ClusterInfoList": found}))
    if (match := _ONE_CLUSTER.fullmatch(path)) and method == "GET":
        one = _msk._clusters.get(unquote(match.group(1)))
        if one is None:
            return _msk._not_found("The cluster does not exist.")
        kept = {key: one[key] for key in ("ClusterArn", "ClusterName", "State")}
        return _msk._json({"ClusterInfo": kept | {"ClusterType": "PROVISIONED"}})
    if match := _ALL_TOPICS.fullmatch(path):
        return _all_topics(method, unquote(match.group(1)), body)
    if match := _ONE_TOPIC.fullmatch(path):
        return _one_topic(method, unquote(match.group(1)), unquote(match.group(2)))
    return await _kafka_before(method, path, headers, body, query)


def _camel_keys(document: Properties) -> Properties:
    return document  # ministack's own `_json` turns the keys into what botocore reads


def _all_topics(method: str, cluster: str, body: Any) -> Any:
    if error := _msk._validate_existing_cluster_arn(cluster):
        return error
    if method == "POST":
        wanted = json.loads(body)
        try:
            _create_topic(
                "",
                {
                    "ClusterArn": cluster,
                    "TopicName": wanted["topicName"],
                    "PartitionCount": wanted["partitionCount"],
                    "ReplicationFactor": wanted["replicationFactor"],
                    "Configs": wanted.get("configs", ""),
                },
                "",
            )
        except ValueError as error:
            return _msk._conflict(str(error))
        return _msk._json({"TopicName": wanted["topicName"], "Status": "CREATING"})
    listed = [
        {"TopicName": name, "TopicArn": _topic_arn(cluster, name), "OutOfSyncReplicaCount": 0}
        | {key: found[key] for key in ("PartitionCount", "ReplicationFactor")}
        for name, found in _topics.get(cluster, {}).items()
    ]
    return _msk._json({"Topics": listed})


def _one_topic(method: str, cluster: str, name: str) -> Any:
    found = _topics.get(cluster, {}).get(name)
    if found is None:
        return _msk._not_found(f"Topic {name} does not exist.")
    status = "ACTIVE"
    if method == "DELETE":
        del _topics[cluster][name]
        status = "DELETING"
    return _msk._json({"TopicArn": _topic_arn(cluster, name), "TopicName": name, "Status": status, **found})


# --- Flink ------------------------------------------------------------------------------------------------------------


def _starting(handler: Callable[[Properties], Any]) -> Callable[[Properties], Any]:
    """Refuse to restore the latest snapshot when there is none: AWS does not say what it does then."""

    def handle(data: Properties) -> Any:
        run = data.get("RunConfiguration", {}).get("ApplicationRestoreConfiguration", {})
        latest = run.get("ApplicationRestoreType") == "RESTORE_FROM_LATEST_SNAPSHOT"
        if latest and not _flink._snapshots.get(data["ApplicationName"]):
            return _flink._error("InvalidArgumentException", "the application has no snapshot")
        return handler(data)

    return handle


def _operating(kind: str, handler: Callable[[Properties], Any]) -> Callable[[Properties], Any]:
    def handle(data: Properties) -> Any:
        fault = _fault("flink", kind)
        if fault is None:
            status, headers, body = handler(data)
            if status >= 400:
                return status, headers, body
        now = int(time.time())
        made = {
            "Operation": kind,
            "OperationId": uuid.uuid4().hex,
            "StartTime": now,
            "EndTime": now,
            "OperationStatus": "FAILED" if fault else "IN_PROGRESS" if _SERVICES else "SUCCESSFUL",
            "OperationFailureDetails": {"ErrorInfo": {"ErrorString": fault or ""}},
        }
        _operations.setdefault(data["ApplicationName"], []).insert(0, made)
        return _flink.json_response({"OperationId": made["OperationId"]})

    return handle


def _presigned_url(data: Properties) -> Any:
    return _flink.json_response({"AuthorizedUrl": f"https://flink.example/{data['ApplicationName']}?authToken=x"})


def _list_operations(data: Properties) -> Any:
    wanted = data.get("OperationStatus")
    keys = ("Operation", "OperationId", "StartTime", "EndTime", "OperationStatus")
    found = [
        {key: made[key] for key in keys}
        for made in _operations.get(data["ApplicationName"], [])
        if wanted in {None, made["OperationStatus"]}
    ]
    return _flink.json_response({"ApplicationOperationInfoList": found})


def _describe_operation(data: Properties) -> Any:
    _flink._get(data["ApplicationName"])  # settles what is under way
    for made in _operations.get(data["ApplicationName"], []):
        if made["OperationId"] == data["OperationId"]:
            hidden = set() if made["OperationStatus"] == "FAILED" else {"OperationFailureDetails"}
            details = {key: value for key, value in made.items() if key not in {"OperationId", *hidden}}
            return _flink.json_response({"ApplicationOperationInfoDetails": details})
    return _flink._error("ResourceNotFoundException", "no such operation")


# --- What runs outside ------------------------------------------------------------------------------------------------

_SERVICES: Final = os.environ.get("SHIM_SERVICES", "")


def _ask(path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{_SERVICES}{path}", data), timeout=300) as answer:  # noqa: S310 - on 127.0.0.1
        return json.loads(answer.read())


async def _invoked(name: str, event: Any, headers: dict[str, str], *_rest: Any) -> Any:
    """Let the harness run the function; as Lambda, refuse one that does not exist."""
    if name not in _lambda._functions:
        return await _invoke_before(name, event, headers)
    answer = await asyncio.to_thread(_ask, f"/invoke/{name}", event)
    own = {"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST"}
    own["X-Amz-Log-Result"] = base64.b64encode(answer["log"].encode()[-4096:]).decode()
    if answer["failed"]:
        own["X-Amz-Function-Error"] = "Unhandled"
    return 200, own, json.dumps(answer["answer"]).encode()


def _settled(name: str) -> Any:
    """Give an application with the state that it has outside."""
    record = _flink._applications.get(name)
    if record is not None and (found := _ask(f"/flink/{name}"))["state"]:
        record["ApplicationStatus"] = found["state"]
        for operation in _operations.get(name, [])[:1]:
            if found["state"] in {"RUNNING", "READY"} and operation["OperationStatus"] == "IN_PROGRESS":
                operation |= {"OperationStatus": "FAILED" if found["error"] else "SUCCESSFUL"}
                operation["OperationFailureDetails"] = {"ErrorInfo": {"ErrorString": found["error"]}}
    return record


def _outside(kind: str, handler: Callable[[Properties], Any]) -> Callable[[Properties], Any]:
    """Start or stop outside what ministack only notes."""

    def handle(data: Properties) -> Any:
        answer = handler(data)
        if answer[0] < 400:
            name = data["ApplicationName"]
            kept = list(_flink._snapshots.get(name) or {})
            _ask(f"/flink/{name}/{kind}", {"request": data, "snapshots": kept})
        return answer

    return handle


# --- Alarms -----------------------------------------------------------------------------------------------------------


def _plain_alarms(handler: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Take alarms over several metrics as one over a metric of their own: ministack knows no metric math."""

    def plain(properties: Properties) -> Properties:
        if "Metrics" not in properties:
            return properties
        rest = {key: value for key, value in properties.items() if key != "Metrics"}
        return rest | {"Namespace": "Shim", "MetricName": "Math", "Statistic": "Sum", "Period": 60}

    def create(name: str, properties: Properties, stack: str) -> Any:
        return handler["create"](name, plain(properties), stack)

    def update(physical: str, old: Properties, new: Properties, stack: str) -> Any:
        named = ["Alarm"] if handler.get("update_with_logical_id") else []
        return handler["update"](physical, plain(old), plain(new), stack, *named)

    return create, handler["delete"], update


# --- Network interfaces of functions ----------------------------------------------------------------------------------


def _attached(handler: dict[str, Any]) -> dict[str, Any]:
    """Let a function in the network have an interface in each subnet, which outlives it when that is ordered."""

    def create(name: str, properties: Properties, stack: str) -> Any:
        made = handler["create"](name, properties, stack)
        network = properties.get("VpcConfig", {}) if _orders().get("interfaces") else {}
        for subnet in network.get("SubnetIds", []):
            for group in network["SecurityGroupIds"]:
                _ec2._create_network_interface(_query(SubnetId=subnet, SecurityGroupId__1=group))
        return made

    return {**handler, "create": create}


def _held_by_interfaces(handler: dict[str, Any]) -> dict[str, Any]:
    """Let a subnet or a group not be deleted while an interface is in it, as on AWS."""

    def delete(physical: str, properties: Properties, *rest: Any) -> None:
        if any(physical in json.dumps(found) for found in _ec2._network_interfaces.values()):
            raise ValueError(f"resource {physical} has a dependent object (DependencyViolation)")
        handler["delete"](physical, properties, *rest)

    return {**handler, "delete": delete}


# --- Requests ---------------------------------------------------------------------------------------------------------

_THROTTLED: Final = {
    "s3": ("SlowDown", 503),
    "ec2": ("RequestLimitExceeded", 503),
    "cloudformation": ("Throttling", 400),
    "sts": ("Throttling", 400),
    "lambda": ("TooManyRequestsException", 429),
    "kafka": ("TooManyRequestsException", 429),
}
_LARGEST_READ: Final = 1 << 20
_seen: dict[str, int] = {}
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def _front(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """Apply ``calls`` and hand the rest to ministack."""
    calls = _orders().get("calls", []) if scope["type"] == "http" else []
    if not calls:
        await _app(scope, receive, send)
        return
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
    given = await receive() if int(headers.get("content-length") or 0) < _LARGEST_READ else None

    async def again() -> dict[str, Any]:
        nonlocal given
        first, given = given, None
        return first or await receive()

    service = (re.search(r"Credential=[^/]+/[^/]+/[^/]+/([^/]+)/", headers.get("authorization", "")) or ["", ""])[1]
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    if not operation and given and "x-www-form-urlencoded" in headers.get("content-type", ""):
        operation = parse_qs(given["body"].decode("latin-1")).get("Action", [""])[0]
    told = f"{service} {scope['method']} {unquote(scope['path'])} {operation}"
    for call in calls:
        found = re.search(call["match"], told)
        if not found:
            continue
        key = json.dumps(call) + (found[0] if call.get("each") else "")
        _seen[key] = _seen.get(key, 0) + 1
        if _seen[key] > call.get("times", 1):
            continue
        if "merge" in call:
            send = _merging(send, call["merge"])
            continue
        code, status = _THROTTLED.get(service, ("ThrottlingException", 400))
        if call["code"] != "throttle":
            code, status = call["code"], call["status"]
        await _refuse(send, headers, service, code, status)
        return
    await _app(scope, again, send)


async def _refuse(send: Send, headers: dict[str, str], service: str, code: str, status: int) -> None:
    text = f"<Code>{code}</Code><Message>refused by the shim</Message>"
    own, body = [], json.dumps({"__type": code, "message": "refused by the shim"})
    if service == "s3":
        body = f"<Error>{text}</Error>"
    elif service == "ec2":
        body = f"<Response><Errors><Error>{text}</Error></Errors><RequestID>0</RequestID></Response>"
    elif "x-www-form-urlencoded" in headers.get("content-type", ""):
        body = f"<ErrorResponse><Error><Type>Sender</Type>{text}</Error><RequestId>0</RequestId></ErrorResponse>"
    else:
        own = [(b"x-amzn-errortype", code.encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body.encode()})


def _merging(send: Send, changes: Properties) -> Send:
    """Change a JSON answer, also below the top."""
    start: dict[str, Any] = {}
    parts: list[bytes] = []

    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        parts.append(message.get("body", b""))
        if message.get("more_body"):
            return
        body = json.dumps(_merged(json.loads(b"".join(parts)), changes)).encode()
        kept = [pair for pair in start["headers"] if pair[0].lower() not in {b"content-length", b"x-amz-crc32"}]
        await send({**start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    return sending


def _merged(value: Any, changes: Any) -> Any:
    if isinstance(value, dict) and isinstance(changes, dict):
        return {**value, **{key: _merged(value.get(key), changed) for key, changed in changes.items()}}
    return changes


# --- Faults -----------------------------------------------------------------------------------------------------------


def _orders() -> Properties:
    """Give what the file says."""
    try:
        orders: Properties = json.loads(_FAULTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return orders


def _fault(verb: str, name: str) -> str | None:
    """Give the reason for which this step shall fail, when the file says so."""
    fault = _orders().get(verb, {}).get(name)
    if fault is None:
        return None
    key = f"{verb} {name} {fault['reason']}"
    _used[key] = _used.get(key, 0) + 1
    first = fault.get("after", 0)
    return str(fault["reason"]) if first < _used[key] <= first + fault["times"] else None


def _fail(verb: str, name: str) -> None:
    if reason := _fault(verb, name):
        raise ValueError(reason)


def _with_faults(handler: dict[str, Any]) -> dict[str, Any]:
    create, update, delete = handler.get("create"), handler.get("update"), handler.get("delete")
    update_named, delete_named = handler.get("update_with_logical_id"), handler.get("delete_with_logical_id")
    wrapped = dict(handler)
    if create:

        def creating(name: str, properties: Properties, stack: str) -> Any:
            _fail("create", name)
            return create(name, properties, stack)

        wrapped["create"] = creating
    if update:

        def updating(physical: str, old: Properties, new: Properties, stack: str, name: str) -> Any:
            _fail("update", name)
            return update(physical, old, new, stack, *([name] if update_named else []))

        wrapped |= {"update": updating, "update_with_logical_id": True}
    if delete:

        def deleting(physical: str, properties: Properties, name: str) -> Any:
            _fail("delete", name)
            return delete(physical, properties, *([name] if delete_named else []))

        wrapped |= {"delete": deleting, "delete_with_logical_id": True}
    return wrapped


_register("AWS::EC2::EIP", _create_address, _delete_address)
_register("AWS::EC2::NatGateway", _create_gateway, _delete_gateway, replacing=("SubnetId",))
_register("AWS::EC2::Instance", _create_instance, _delete_instance, replacing=("ImageId", "SubnetId"))
_register("AWS::EC2::SecurityGroupIngress", *_rule("IpPermissions"))
_register("AWS::EC2::SecurityGroupEgress", *_rule("IpPermissionsEgress"))
_register("AWS::MSK::Configuration", _create_configuration, _delete_configuration, replacing=("Name",))
_register("AWS::MSK::Cluster", _create_cluster, _delete_cluster, _update_cluster, ("ClusterName",))
_register(
    *("AWS::MSK::Topic", _create_topic, _delete_topic, _update_topic),
    replacing=("ClusterArn", "TopicName", "ReplicationFactor"),
)
_HANDLERS["AWS::S3::Bucket"] = _tagged_buckets(_HANDLERS["AWS::S3::Bucket"])
_register("AWS::CloudWatch::Alarm", *_plain_alarms(_HANDLERS["AWS::CloudWatch::Alarm"]))
_HANDLERS["AWS::Lambda::Function"] = _attached(_HANDLERS["AWS::Lambda::Function"])
for _kind in ("AWS::EC2::SecurityGroup", "AWS::EC2::Subnet"):
    _HANDLERS[_kind] = _held_by_interfaces(_HANDLERS[_kind])
for _kind in list(_HANDLERS):
    _HANDLERS[_kind] = _with_faults(_HANDLERS[_kind])

_threaded: Callable[[str], bool] = _stacks._runs_on_worker_thread
_stacks._runs_on_worker_thread = lambda kind: kind == "AWS::MSK::Cluster" or _threaded(kind)
_kafka_before: Any = _msk.handle_request
_msk.handle_request = _kafka
_flink._HANDLERS["StartApplication"] = _starting(_flink._HANDLERS["StartApplication"])
if _SERVICES:
    _flink._get = _settled
    _lambda: Any = import_module("ministack.services.lambda_svc")
    _invoke_before: Any = _lambda._invoke
    _lambda._invoke = _invoked
    for _kind in ("StartApplication", "StopApplication"):
        _flink._HANDLERS[_kind] = _outside(_kind, _flink._HANDLERS[_kind])
for _kind in ("StartApplication", "StopApplication"):
    _flink._HANDLERS[_kind] = _operating(_kind, _flink._HANDLERS[_kind])
_flink._HANDLERS |= {
    "ListApplicationOperations": _list_operations,
    "DescribeApplicationOperation": _describe_operation,
    "CreateApplicationPresignedUrl": _presigned_url,
}

_ec2._ACTION_MAP["DescribeInstanceTypeOfferings"] = _offerings
_public: dict[str, str] = import_module("ministack.services.ssm")._PUBLIC_AMI_PARAMETERS
_public[f"{_IMAGES}-arm64"] = _public[f"{_IMAGES}-x86_64"]

_main: Any = import_module("ministack.app")
_app: Any = _main.app
_main.app = _front

if __name__ == "__main__":
    _main.main()
