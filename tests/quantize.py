"""Quantizes an ONNX model as ONNX Runtime does it: what the suite `quantized_models` packages.

    quantize.py MODEL.onnx SAMPLES.npy OUT.onnx qdq|qoperator|dynamic

SAMPLES holds f32 samples along its first axis, each of the shape of the model's input. Weights are int8, per
channel; activations int8 (QDQ) or uint8 (QOperator), MinMax. Needs the packages onnx and onnxruntime.
"""

import os
import sys
import tempfile

import numpy
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process


class Samples(CalibrationDataReader):
    def __init__(self, name, samples):
        self.feeds = iter([{name: sample} for sample in samples])

    def get_next(self):
        return next(self.feeds, None)


def main(model, samples, out, form):
    with tempfile.TemporaryDirectory() as folder:
        prepared = os.path.join(folder, "prepared.onnx")
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        if form == "dynamic":
            quantize_dynamic(prepared, out, per_channel=True)
            return
        session = onnxruntime.InferenceSession(prepared, providers=["CPUExecutionProvider"])
        quantize_static(
            prepared,
            out,
            Samples(session.get_inputs()[0].name, numpy.load(samples)),
            quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator,
            per_channel=True,
            activation_type=QuantType.QInt8 if form == "qdq" else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


main(*sys.argv[1:])
