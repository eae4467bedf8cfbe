"""Encodes readings with Python's protobuf, and writes for each one line of JSON: its fields, its bytes in hexadecimal, and the
protobuf JSON of its payload. Needs the packages protobuf and grpcio-tools."""

import importlib
import json
import pathlib
import sys
import tempfile

from google.protobuf import json_format
from grpc_tools import protoc

HERE = pathlib.Path(__file__).resolve().parent


def compiled():
    """The module that protoc makes of the proto."""
    include = str(pathlib.Path(protoc.__file__).parent / "_proto")
    with tempfile.TemporaryDirectory() as out:
        code = protoc.main(["protoc", f"-I{HERE}", f"-I{include}", f"--python_out={out}", str(HERE / "sensor_reading.proto")])
        if code != 0:
            sys.exit(f"protoc failed with {code}")
        sys.path.insert(0, out)
        return importlib.import_module("sensor_reading_pb2")


CASES = [
    # device, id, seconds, nanos, metadata, bpm, confidence, zone, source, from_the_future
    ("watch-7", "0190163d-8694-739b-aea5-966c26f8ad90", 1772366400, 0, {}, 61, 0.9, 1, "watch", 0),
    ("watch-7", "", 1772366400, 999999999, {"room": "ward 7"}, 20, 0.0, 0, "", 0),
    ("Uhr-öäü", "0190163d-8694-739b-aea5-966c26f8ad91", 0, 1, {"a": "", "b": "ü", "c": "\"x\"\n"}, 300, 1.0, 4, "chest_strap", 0),
    ("phone", "0190163D-8694-739B-AEA5-966C26F8AD92", 1772366399, 500000000, {f"k{i}": f"v{i}" for i in range(20)}, 128, 0.123456, 3, "x" * 300, 0),
    ("phone", "0190163d-8694-739b-aea5-966c26f8ad93", 1772366400, 7, {"newer": "yes"}, 150, 1e-7, 2, "😀", 18446744073709551615),
]


def main():
    pb = compiled()
    for device, id, seconds, nanos, metadata, bpm, confidence, zone, source, future in CASES:
        r = pb.SensorReading(device_id=device, reading_id=id, metadata=metadata, from_the_future=future)
        r.recorded_at.seconds, r.recorded_at.nanos = seconds, nanos
        r.heart_rate.bpm, r.heart_rate.confidence, r.heart_rate.zone, r.heart_rate.source = bpm, confidence, zone, source
        text = json_format.MessageToJson(r.heart_rate, preserving_proto_field_name=True, sort_keys=True, indent=None, ensure_ascii=False)
        print(json.dumps({
            "device": device, "id": id, "seconds": seconds, "nanos": nanos, "metadata": metadata, "bpm": bpm,
            "confidence": confidence, "zone": zone, "source": source, "future": str(future),
            "wire": r.SerializeToString(deterministic=True).hex(), "heart_rate": json.loads(text),
        }, sort_keys=True))


main()
