"""The on-failure destination: one file for each record that the function could not take, in the form of Lambda's S3."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fraudctl.atomic import atomic_write
from fraudctl.local.lambda_runner.batches import CLUSTER_ARN, Delivered
from fraudctl.local.lambda_runner.functions import VERSION, Result, arn
from fraudctl.pipeline.text import iso


class OnFailure:
    """A folder with one file ``topic-partition-offset.json`` for each record that was given up."""

    def __init__(self, folder: Path, function: str, *, wall: Callable[[], float] = time.time) -> None:
        """Store the folder; it is created with the first file."""
        self._folder, self._function, self._wall = folder, function, wall

    def count(self) -> int:
        """Count the records given up, those of earlier runs too."""
        return sum(1 for _ in self._folder.glob("*.json"))

    def write(self, record: Delivered, event: Mapping[str, Any], result: Result, attempts: int, error: str) -> Path:
        """Write the record, its event and why it was given up, and return the file, which is whole or not there.

        Raises OSError.
        """
        payload = json.dumps(event)
        moment = iso(record.timestamp)
        document = {
            "requestContext": {
                "requestId": result.request_id,
                "functionArn": arn(self._function),
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": attempts,
            },
            "responseContext": {"statusCode": 200, "executedVersion": VERSION, "functionError": result.error},
            "version": "1.0",
            "timestamp": iso(int(self._wall() * 1000)),
            "KafkaBatchInfo": {
                "batchSize": 1,
                "eventSourceArn": CLUSTER_ARN,
                "bootstrapServers": event["bootstrapServers"],
                "payloadSize": len(payload),
                "recordsInfo": {
                    record.place[0]: {
                        "firstRecordOffset": str(record.offset),
                        "lastRecordOffset": str(record.offset),
                        "firstRecordTimestamp": moment,
                        "lastRecordTimestamp": moment,
                    }
                },
            },
            "payload": payload,
            "error": error,
            "log": result.log_tail.decode(errors="replace"),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{record.topic}-{record.partition}-{record.offset}.json"
        atomic_write(file, json.dumps(document, indent=2).encode(), durable=True)
        return file
