"""A template that is too long for a call, and the bucket that a plan needs for it."""

from pathlib import Path
from typing import Any

import pytest
from stubs import ACCOUNT, ANY, REGION, STACK, Aws, FakeTime

from fraudctl import config
from fraudctl.aws.cloudformation.change_sets import Request
from fraudctl.aws.release import LARGEST_BODY, Release
from fraudctl.config import Settings
from fraudctl.errors import TimedOut

BUCKET = f"{STACK}-artifacts-{ACCOUNT}-{REGION}"
LONG = "x" * (LARGEST_BODY + 1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that touch nothing."""
    return config.load({"stack": STACK}, environment={"FRAUDCTL_HOME": str(tmp_path)}, folder=tmp_path)


def release(aws: Aws, settings: Settings, time: FakeTime | None = None) -> Release:
    """Return what is tested."""
    return Release(settings, aws.session(), (time or FakeTime()).clock())


def there(aws: Aws, *, yes: bool) -> None:
    """Expect the question for the bucket."""
    call = aws.on("s3").head_bucket(Bucket=BUCKET, ExpectedBucketOwner=ACCOUNT)
    if yes:
        call.returns()
    else:
        call.fails("404")


def test_a_template_that_fits_is_sent_in_the_call(settings: Settings) -> None:
    """No bucket is asked for, and a plan without one leaves nothing to remove."""
    with Aws() as aws:
        subject = release(aws, settings)
        assert subject.template_url("x" * LARGEST_BODY) == ""
        subject.withdraw()
    assert "TemplateBody" in Request("s", "CREATE", {}, {}, body="x").arguments("n")


def test_a_longer_one_lies_in_the_bucket(settings: Settings) -> None:
    """It is named by its content, and the address is one that CloudFormation takes; the bucket stays."""
    with Aws() as aws:
        aws.on("sts").get_caller_identity().returns({"Account": ACCOUNT})
        there(aws, yes=True)
        aws.on("s3").head_object(Bucket=BUCKET, Key=ANY, ExpectedBucketOwner=ACCOUNT).fails("404")
        aws.on("s3").put_object(Bucket=BUCKET, Key=ANY, Body=LONG.encode(), ExpectedBucketOwner=ACCOUNT).returns()
        subject = release(aws, settings)
        url = subject.template_url(LONG)
        there(aws, yes=True)
        aws.on("s3").head_object(Bucket=BUCKET, Key=ANY, ExpectedBucketOwner=ACCOUNT).returns(
            {"ContentLength": len(LONG)}
        )
        assert subject.template_url(LONG) == url
        subject.withdraw()
    assert url.startswith(f"https://s3.{REGION}.amazonaws.com/{BUCKET}/template-")
    asked = Request("s", "CREATE", {}, {}, body=LONG, url=url).arguments("n")
    assert asked["TemplateURL"] == url
    assert "TemplateBody" not in asked


def created(aws: Aws, *answers: str) -> None:
    """Expect the bucket to be made, after so many refusals."""
    for code in answers:
        aws.on("s3").create_bucket(
            Bucket=BUCKET,
            ObjectOwnership="BucketOwnerEnforced",
            CreateBucketConfiguration={"LocationConstraint": REGION},
        ).fails(code)


def test_a_bucket_that_is_still_being_deleted_is_waited_for(settings: Settings) -> None:
    """After a plan or a teardown S3 may refuse its name for a while; for ever is an error."""
    time = FakeTime()
    with Aws() as aws:
        aws.on("sts").get_caller_identity().returns({"Account": ACCOUNT})
        there(aws, yes=False)
        there(aws, yes=False)
        created(aws, *["OperationAborted"] * 3)
        time.on_sleep = lambda: setattr(time, "at", time.at + 40)
        with pytest.raises(TimedOut, match="S3 still deletes the one of this name"):
            release(aws, settings, time).template_url(LONG)
    assert time.slept


def test_a_bucket_made_for_a_plan_is_removed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that one, and only once."""
    steps: list[str] = []

    class Bucket:
        name = BUCKET

        def exists(self) -> bool:
            return False

        def ensure(self) -> bool:
            steps.append("made")
            return True

        def put_template(self, _: str) -> str:
            return "https://s3/x"

        def delete(self) -> bool:
            steps.append("removed")
            return True

    bucket: Any = Bucket()
    monkeypatch.setattr(Release, "_bucket", bucket)
    with Aws() as aws:
        subject = release(aws, settings)
        assert subject.template_url(LONG) == "https://s3/x"
        subject.withdraw()
        subject.withdraw()
    assert steps == ["made", "removed"]
