//! What wrote the file, and remedies in its terms.

/// A tool that writes ONNX files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exporter {
    /// `torch.onnx.export`.
    PyTorch,
    /// tf2onnx, for TensorFlow, Keras and TFLite.
    TensorFlow,
    /// paddle2onnx.
    Paddle,
    /// Anything else.
    Other,
}

impl Exporter {
    /// From the file's `producer_name`, or the way in which its nodes are called.
    pub fn of(producer: &str, node: &str) -> Self {
        let producer = producer.to_ascii_lowercase();
        let holds = |words: &[&str]| words.iter().any(|word| producer.contains(word));
        match () {
            () if holds(&["torch"]) => Self::PyTorch,
            () if holds(&["tf2onnx", "keras", "tensorflow"]) => Self::TensorFlow,
            () if holds(&["paddle"]) || node.starts_with("p2o.") => Self::Paddle,
            () => Self::Other,
        }
    }

    /// How a model is exported for inference.
    pub fn inference(self) -> &'static str {
        match self {
            Self::PyTorch => {
                "call model.eval() before torch.onnx.export, and leave its `training` at TrainingMode.EVAL"
            }
            Self::TensorFlow => {
                "export the model as it is called with training=False (save it as a SavedModel for inference, \
                 then python -m tf2onnx.convert --saved-model …)"
            }
            Self::Paddle => "call model.eval() before paddle.jit.save, then paddle2onnx",
            Self::Other => {
                "export the model for inference, not for training (PyTorch: model.eval() before export)"
            }
        }
    }

    /// How another operator set is asked for.
    pub fn opset(self) -> &'static str {
        match self {
            Self::PyTorch => "export with torch.onnx.export(…, opset_version=17)",
            Self::TensorFlow => "export with python -m tf2onnx.convert --opset 17 …",
            Self::Paddle => "export with paddle2onnx --opset_version 17 …",
            Self::Other => {
                "export with opset 17, or convert the file: \
                 onnx.save(onnx.version_converter.convert_version(onnx.load(FILE), 17), NEW)"
            }
        }
    }

    /// How shapes are fixed at export, beside the flag that does it here.
    pub fn static_shapes(self, input: &str) -> String {
        match self {
            Self::PyTorch => "export without dynamic_axes (dynamic_shapes)".into(),
            Self::TensorFlow => format!("export with tf2onnx's --inputs {input}[1,…]"),
            Self::Paddle => "export with a static input_spec".into(),
            Self::Other => format!(
                "fix it in the file: python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name {input} \
                 --input_shape 1,… FILE NEW"
            ),
        }
    }

    /// How what is left over is taken out of a file.
    pub fn clean_up(self) -> &'static str {
        match self {
            Self::PyTorch => {
                "export with do_constant_folding=True, or clean the file: onnxsim FILE NEW (pip install onnxsim)"
            }
            _ => "clean the file: onnxsim FILE NEW (pip install onnxsim)",
        }
    }

    /// How weights stay out of the inputs.
    pub fn plain_initializers(self) -> &'static str {
        match self {
            Self::PyTorch => "export with keep_initializers_as_inputs=False",
            _ => {
                "take them out of graph.input (ONNX Runtime's tools/python/remove_initializer_from_input.py \
                 does it) where they are not meant to be given"
            }
        }
    }

    /// How a model is exported in f32.
    pub fn float32(self) -> &'static str {
        match self {
            Self::PyTorch => "call model.float() before torch.onnx.export",
            Self::TensorFlow => "build the model with the float32 policy (tf.keras.mixed_precision)",
            _ => "export the model with float32 weights",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exporters_are_known_by_what_they_write() {
        let producers = ["pytorch", "tf2onnx", "keras2onnx", "PaddlePaddle", "CNTK", ""];
        let of = producers.map(|producer| Exporter::of(producer, "conv1"));
        let (tensor_flow, other) = (Exporter::TensorFlow, Exporter::Other);
        assert_eq!(of, [Exporter::PyTorch, tensor_flow, tensor_flow, Exporter::Paddle, other, other]);
        assert_eq!(Exporter::of("", "p2o.Conv.0"), Exporter::Paddle);
    }
}
