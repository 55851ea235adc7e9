# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "jax==0.10.2",
#     "numpy==2.4.6",
#     "onnx==1.23.2",
#     "onnxruntime==1.31.1",
#     "scikit-learn==1.9.1",
# ]
# ///
"""Trains the bundled model on handwritten digits and writes model.onnx, calibration.npz and evaluation.npz.

    python3 -m venv venv
    venv/bin/pip install jax==0.10.2 numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1 scikit-learn==1.9.1
    venv/bin/python train.py            # about two minutes on one core; nothing is downloaded
    venv/bin/python train.py --check    # re-evaluates the committed files against README.md

Seeds are fixed and training runs on one thread with one vector width, so that a second run writes the
same bytes. A CPU that rounds its sums otherwise may give other weights of the same accuracy.

The model is small, but has what mobile networks have as exporters write them: BatchNormalization as
nodes of their own, depthwise convolutions, a residual Add, squeeze-and-excitation, HardSwish, Concat.
It takes (pixel - 127.5) / 127.5; that step is the packager's (--mean 127.5 --std 127.5), not the graph's.
"""

import argparse
import hashlib
import math
import os
import sys
from pathlib import Path

# Read by XLA when jax is imported. One thread and AVX2 give the same sums on most x86 machines.
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false --xla_cpu_max_isa=AVX2"
os.environ["JAX_PLATFORMS"] = "cpu"

import numpy as np

HERE = Path(__file__).resolve().parent
SEED = 20
SIDE = 16
CLASSES = 10
MEAN, STD = 127.5, 127.5

CALIBRATION_IMAGES = 64
EVALUATION_IMAGES = 360

EPOCHS = 90
BATCH = 128
PEAK_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 2e-2
LABEL_SMOOTHING = 0.05
BATCH_NORM_MOMENTUM = 0.95
BATCH_NORM_EPSILON = 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only re-evaluate the committed files")
    if parser.parse_args().check:
        sys.exit(check())

    (train_x, train_y), (evaluation_x, evaluation_y) = split()
    calibration = calibration_indices(train_y)
    np.savez_compressed(HERE / "calibration.npz", x=train_x[calibration])
    np.savez_compressed(HERE / "evaluation.npz", x=evaluation_x, y=evaluation_y)

    params = train(train_x, train_y)
    (HERE / "model.onnx").write_bytes(export(params))
    # The exporter is checked against the trainer: both walk `network`, but each has its own operators.
    expected = predict(params, evaluation_x)
    deviation = np.abs(run_onnx(evaluation_x) - expected).max()
    assert deviation < 1e-4, f"model.onnx deviates from the trained network by {deviation}"
    print("\n".join(facts()))


# ---------------------------------------------------------------------------------------------- data


def split():
    """Images u8 [N, H, W, 1] and labels i64 [N], for training and for evaluation, stratified by label."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images, labels = upsample(digits.images), digits.target.astype(np.int64)
    train_x, evaluation_x, train_y, evaluation_y = train_test_split(
        images, labels, test_size=EVALUATION_IMAGES, stratify=labels, random_state=SEED
    )
    return (train_x, train_y), (evaluation_x, evaluation_y)


def upsample(images):
    """[N, 8, 8] of 0..16 to u8 [N, 16, 16, 1] of 0..255: bilinear, pixel centres at half.

    Along each axis an output pixel is 3/4 of its nearest source pixel and 1/4 of the next one; the sums
    are held in sixteenths, and so are exact.
    """
    x = images.astype(np.int64)
    for axis in (1, 2):
        n = x.shape[axis]
        before = x.take(np.maximum(np.arange(n) - 1, 0), axis)
        after = x.take(np.minimum(np.arange(n) + 1, n - 1), axis)
        halves = np.stack([3 * x + before, 3 * x + after], axis + 1)
        x = halves.reshape(x.shape[:axis] + (2 * n,) + x.shape[axis + 1 :])
    # Sixteenths of 0..16: 256 is white. Halves are rounded up.
    return ((x * 255 + 128) // 256).astype(np.uint8)[..., None]


def calibration_indices(labels):
    """Training images with every label as often as any other, as near as 64 allows."""
    by_label = [np.flatnonzero(labels == label) for label in range(CLASSES)]
    rounds = math.ceil(CALIBRATION_IMAGES / CLASSES)
    return np.stack([indices[:rounds] for indices in by_label], 1).reshape(-1)[:CALIBRATION_IMAGES]


def normalize(images):
    return (images.astype(np.float32) - MEAN) / STD


def augment(images, rng):
    """Each image turned, scaled and shifted a little: bilinear, black outside."""
    n = len(images)
    angle = rng.uniform(-0.2, 0.2, n)
    zoom = rng.uniform(0.88, 1.12, n)
    shift = rng.uniform(-1.6, 1.6, (n, 2))
    cos, sin = (np.cos(angle) / zoom)[:, None, None], (np.sin(angle) / zoom)[:, None, None]
    centre = (SIDE - 1) / 2
    row, col = np.meshgrid(np.arange(SIDE) - centre, np.arange(SIDE) - centre, indexing="ij")
    source_row = cos * row - sin * col + centre + shift[:, :1, None]
    source_col = sin * row + cos * col + centre + shift[:, 1:, None]

    padded = np.pad(images[..., 0].astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    source_row = np.clip(source_row + 1, 0, SIDE + 0.999)
    source_col = np.clip(source_col + 1, 0, SIDE + 0.999)
    top, left = source_row.astype(int), source_col.astype(int)
    down, right = source_row - top, source_col - left
    index = np.arange(n)[:, None, None]
    upper = padded[index, top, left] * (1 - right) + padded[index, top, left + 1] * right
    lower = padded[index, top + 1, left] * (1 - right) + padded[index, top + 1, left + 1] * right
    return (upper * (1 - down) + lower * down)[..., None]


# ------------------------------------------------------------------------------------------- network


def network(ops, x):
    """The one description of the network; `ops` trains it (`Jax`) or writes it down (`Onnx`).

    Sizes of the values are [H, W, C].
    """
    # [16, 16, 1] -> [16, 16, 16]
    x = ops.relu6("stem/relu6", conv_bn(ops, "stem", x, 16, kernel=3))

    # A depthwise-separable block that halves the picture, as MobileNet v1 has it: -> [8, 8, 32]
    x = ops.relu6("block1/depthwise/relu6", depthwise_bn(ops, "block1/depthwise", x, kernel=3, stride=2))
    x = ops.relu6("block1/pointwise/relu6", conv_bn(ops, "block1/pointwise", x, 32))

    # An inverted residual with squeeze-and-excitation, as MobileNet v3 has it: -> [8, 8, 32]
    y = ops.hard_swish("block2/expand/hard_swish", conv_bn(ops, "block2/expand", x, 96))
    y = ops.hard_swish("block2/depthwise/hard_swish", depthwise_bn(ops, "block2/depthwise", y, kernel=3))
    gate = ops.global_average_pool("block2/squeeze/pool", y)
    gate = ops.relu("block2/squeeze/relu", ops.conv("block2/squeeze/reduce", gate, 24, bias=True))
    gate = ops.hard_sigmoid("block2/squeeze/gate", ops.conv("block2/squeeze/expand", gate, 96, bias=True))
    y = ops.mul("block2/squeeze/scale", y, gate)
    x = ops.add("block2/add", x, conv_bn(ops, "block2/project", y, 32))

    # Two fields of view side by side: -> [4, 4, 64]
    x = ops.max_pool("block3/pool", x)
    near = ops.relu6("block3/near/relu6", depthwise_bn(ops, "block3/near/depthwise", x, kernel=3))
    near = ops.relu("block3/near/relu", conv_bn(ops, "block3/near/pointwise", near, 32))
    far = ops.relu6("block3/far/relu6", depthwise_bn(ops, "block3/far/depthwise", x, kernel=5))
    far = ops.relu("block3/far/relu", conv_bn(ops, "block3/far/pointwise", far, 32))
    x = ops.concat("block3/concat", near, far)

    x = ops.hard_swish("head/hard_swish", conv_bn(ops, "head", x, 128))
    x = ops.flatten("head/flatten", ops.global_average_pool("head/pool", x))
    return ops.softmax("probabilities", ops.gemm("classifier", x, CLASSES))


def conv_bn(ops, name, x, channels, kernel=1):
    return ops.batch_norm(f"{name}/bn", ops.conv(f"{name}/conv", x, channels, kernel))


def depthwise_bn(ops, name, x, kernel, stride=1):
    return ops.batch_norm(f"{name}/bn", ops.depthwise(f"{name}/conv", x, kernel, stride))


class Jax:
    """Runs the network on values [N, H, W, C]. Parameters are laid out as ONNX has them (OIHW).

    `params` holds what is trained, and the running statistics of batch normalization under `…/mean` and
    `…/variance`. A parameter that is missing is drawn from `rng`. With `training` set, batches are
    normalized by their own statistics, and the running ones that result are left in `statistics`.
    """

    def __init__(self, params, training=False, rng=None):
        self.params, self.training, self.rng = params, training, rng
        self.statistics = {}

    def param(self, name, shape, fan_in=None, fill=0.0):
        if name not in self.params:
            drawn = np.full(shape, fill) if fan_in is None else self.rng.normal(0, math.sqrt(2 / fan_in), shape)
            self.params[name] = drawn.astype(np.float32)
        return self.params[name]

    def conv(self, name, x, channels, kernel=1, bias=False):
        inputs = x.shape[-1]
        w = self.param(f"{name}/weight", (channels, inputs, kernel, kernel), fan_in=inputs * kernel**2)
        x = sum(tap @ w[:, :, i, j].T for tap, i, j in taps(x, kernel, 1))
        return x + self.param(f"{name}/bias", (channels,)) if bias else x

    def depthwise(self, name, x, kernel, stride=1):
        w = self.param(f"{name}/weight", (x.shape[-1], 1, kernel, kernel), fan_in=kernel**2)
        return sum(tap * w[:, 0, i, j] for tap, i, j in taps(x, kernel, stride))

    def batch_norm(self, name, x):
        shape = x.shape[-1:]
        scale, bias = self.param(f"{name}/scale", shape, fill=1.0), self.param(f"{name}/bias", shape)
        mean, variance = self.param(f"{name}/mean", shape), self.param(f"{name}/variance", shape, fill=1.0)
        if self.training:
            old_mean, old_variance = mean, variance
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            keep = BATCH_NORM_MOMENTUM
            self.statistics[f"{name}/mean"] = keep * old_mean + (1 - keep) * mean
            self.statistics[f"{name}/variance"] = keep * old_variance + (1 - keep) * variance
        return (x - mean) * (scale / jnp.sqrt(variance + BATCH_NORM_EPSILON)) + bias

    def gemm(self, name, x, channels):
        w = self.param(f"{name}/weight", (channels, x.shape[-1]), fan_in=2 * x.shape[-1])
        return x @ w.T + self.param(f"{name}/bias", (channels,))

    def relu(self, name, x):
        return jnp.maximum(x, 0)

    def relu6(self, name, x):
        return jnp.clip(x, 0, 6)

    def hard_sigmoid(self, name, x):
        return jnp.clip(x / 6 + 0.5, 0, 1)

    def hard_swish(self, name, x):
        return x * self.hard_sigmoid(name, x)

    def add(self, name, a, b):
        return a + b

    def mul(self, name, a, b):
        return a * b

    def concat(self, name, a, b):
        return jnp.concatenate([a, b], -1)

    def max_pool(self, name, x):
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))

    def global_average_pool(self, name, x):
        return x.mean((1, 2), keepdims=True)

    def flatten(self, name, x):
        return x.reshape(len(x), -1)

    def softmax(self, name, x):
        self.logits = x
        return jax.nn.softmax(x)


def taps(x, kernel, stride):
    """What each tap (i, j) of a square kernel sees of x [N, H, W, C], zeros around it."""
    pad = kernel // 2
    h, w = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    for i in range(kernel):
        for j in range(kernel):
            yield x[:, i : i + h : stride, j : j + w : stride], i, j


class Onnx:
    """Writes the network down as ONNX nodes. A value is known by its name."""

    def __init__(self, params):
        self.params, self.nodes, self.initializers = params, [], []

    def node(self, op, name, *inputs, **attributes):
        self.nodes.append(onnx.helper.make_node(op, inputs, [f"{name}/output"], name, **attributes))
        return f"{name}/output"

    def initializer(self, name):
        self.initializers.append(onnx.numpy_helper.from_array(np.asarray(self.params[name], np.float32), name))
        return name

    def constant(self, name, value):
        return self.node("Constant", name, value=onnx.numpy_helper.from_array(np.array(value, np.float32)))

    def conv(self, name, x, channels, kernel=1, bias=False, stride=1, group=1):
        inputs = [self.initializer(f"{name}/weight")] + ([self.initializer(f"{name}/bias")] if bias else [])
        return self.node(
            "Conv", name, x, *inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[kernel // 2] * 4, dilations=[1, 1], group=group,
        )  # fmt: skip

    def depthwise(self, name, x, kernel, stride=1):
        return self.conv(name, x, None, kernel, stride=stride, group=len(self.params[f"{name}/weight"]))

    def batch_norm(self, name, x):
        inputs = [self.initializer(f"{name}/{part}") for part in ("scale", "bias", "mean", "variance")]
        return self.node("BatchNormalization", name, x, *inputs, epsilon=BATCH_NORM_EPSILON)

    def gemm(self, name, x, channels):
        return self.node("Gemm", name, x, self.initializer(f"{name}/weight"), self.initializer(f"{name}/bias"), transB=1)

    def relu(self, name, x):
        return self.node("Relu", name, x)

    def relu6(self, name, x):
        return self.node("Clip", name, x, self.constant(f"{name}/min", 0), self.constant(f"{name}/max", 6))

    def hard_sigmoid(self, name, x):
        return self.node("HardSigmoid", name, x, alpha=1 / 6, beta=0.5)

    def hard_swish(self, name, x):
        return self.node("HardSwish", name, x)

    def add(self, name, a, b):
        return self.node("Add", name, a, b)

    def mul(self, name, a, b):
        return self.node("Mul", name, a, b)

    def concat(self, name, a, b):
        return self.node("Concat", name, a, b, axis=1)

    def max_pool(self, name, x):
        return self.node("MaxPool", name, x, kernel_shape=[2, 2], strides=[2, 2])

    def global_average_pool(self, name, x):
        return self.node("GlobalAveragePool", name, x)

    def flatten(self, name, x):
        return self.node("Flatten", name, x, axis=1)

    def softmax(self, name, x):
        return self.node("Softmax", name, x, axis=1)


# ------------------------------------------------------------------------------- training and export


def train(images, labels):
    """Parameters by AdamW with a one-cycle learning rate; statistics included."""
    load_jax()
    rng = np.random.default_rng(SEED)
    params = {}
    network(Jax(params, rng=rng), normalize(images[:1]))
    print(f"{sum(p.size for p in params.values())} parameters")

    steps_per_epoch = len(images) // BATCH
    steps = EPOCHS * steps_per_epoch

    def loss(params, x, y):
        ops = Jax(params, training=True)
        network(ops, x)
        target = jax.nn.one_hot(y, CLASSES) * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / CLASSES
        return -(target * jax.nn.log_softmax(ops.logits)).sum(-1).mean(), ops.statistics

    @jax.jit
    def step(params, first, second, t, x, y):
        (value, statistics), grads = jax.value_and_grad(loss, has_aux=True)(params, x, y)
        progress = t / steps
        rate = PEAK_LEARNING_RATE * jnp.minimum(progress / 0.15, 0.5 + 0.5 * jnp.cos(jnp.pi * progress))
        first = {k: 0.9 * first[k] + 0.1 * g for k, g in grads.items()}
        second = {k: 0.99 * second[k] + 0.01 * g * g for k, g in grads.items()}
        updated = {}
        for k, p in params.items():
            move = first[k] / (1 - 0.9**t) / (jnp.sqrt(second[k] / (1 - 0.99**t)) + 1e-8)
            decay = WEIGHT_DECAY if k.endswith("/weight") else 0
            updated[k] = p - rate * (move + decay * p)
        return updated | statistics, first, second, value

    first = {k: np.zeros_like(p) for k, p in params.items()}
    second = first
    t = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))
        for start in range(0, steps_per_epoch * BATCH, BATCH):
            batch = order[start : start + BATCH]
            t += 1
            x = normalize(augment(images[batch], rng))
            params, first, second, value = step(params, first, second, np.float32(t), x, labels[batch])
        if epoch % 10 == 9:
            accuracy = (predict(params, images).argmax(1) == labels).mean()
            print(f"epoch {epoch + 1}: loss {value:.4f}, accuracy on the training images {accuracy:.4f}", flush=True)
    return {k: np.asarray(p) for k, p in params.items()}


def predict(params, images):
    """Probabilities [N, 10] by the trainer's operators."""
    return np.concatenate([network(Jax(params), normalize(images[i : i + 256])) for i in range(0, len(images), 256)])


def export(params):
    """The bytes of the ONNX model: opset 17, one image of f32 [1, 1, 16, 16] at a time."""
    load_onnx()
    ops = Onnx(params)
    last = network(ops, "image")
    ops.nodes[-1].output[0] = "probabilities"
    assert last == ops.nodes[-1].name + "/output"
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        ops.nodes,
        "digits",
        [onnx.helper.make_tensor_value_info("image", float32, [1, 1, SIDE, SIDE])],
        [onnx.helper.make_tensor_value_info("probabilities", float32, [1, CLASSES])],
        ops.initializers,
    )
    # IR version 8 is that of opset 17: readers as old as the opset take the file.
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, producer_name="train.py", opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


# --------------------------------------------------------------------------------------------- check


def check():
    """0 where the committed files are what README.md says of them; else 1, and what differs."""
    load_onnx()
    onnx.checker.check_model(str(HERE / "model.onnx"), full_check=True)
    readme = (HERE / "README.md").read_text()
    missing = [fact for fact in facts() if fact not in readme]
    for fact in missing:
        print(f"README.md does not say: {fact}", file=sys.stderr)
    return 1 if missing else 0


def facts():
    """The lines of README.md that can be computed from the files."""
    with np.load(HERE / "evaluation.npz") as evaluation:
        correct = int((run_onnx(evaluation["x"]).argmax(1) == evaluation["y"]).sum())
        total = len(evaluation["y"])
    yield f"**{correct} of {total}** evaluation images ({100 * correct / total:.2f} %)"
    for name in ("model.onnx", "calibration.npz", "evaluation.npz"):
        data = (HERE / name).read_bytes()
        yield f"| {name} | {len(data)} | `{hashlib.sha256(data).hexdigest()}` |"


def run_onnx(images):
    """Probabilities [N, 10] by ONNX Runtime, of images u8 [N, H, W, 1]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    batches = normalize(images).transpose(0, 3, 1, 2)[:, None]
    return np.concatenate([session.run(None, {"image": image})[0] for image in batches])


def load_jax():
    """Imported only to train: `--check` needs numpy, onnx and onnxruntime alone."""
    global jax, jnp
    import jax
    import jax.numpy as jnp


def load_onnx():
    global onnx
    import onnx


if __name__ == "__main__":
    main()
