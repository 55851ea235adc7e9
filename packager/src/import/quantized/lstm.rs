//! DynamicQuantizeLSTM of com.microsoft: an LSTM of int8 weights, which lie transposed, `[D, I, 4 * H]`, and
//! have a scale for each direction or for each gate of it.

use super::{Params, Rewriter, constants};
use crate::error::Result;
use crate::import::Context;

impl Rewriter<'_> {
    /// The LSTM of what the weights stand for.
    pub(super) fn dynamic_lstm(&mut self, context: &Context<'_>) -> Result<()> {
        self.form("dynamic");
        let mut inputs: Vec<String> = context.node.input.iter().take(8).cloned().collect();
        for (index, scale) in [(1, 8), (2, 10)] {
            inputs[index] = self.gate_weights(context, index, [scale, scale + 1])?;
        }
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        self.emit(context, "LSTM", inputs);
        Ok(())
    }

    /// W or R as an f32 constant in the order of LSTM, `[D, 4 * H, I]`; gives its name.
    fn gate_weights(&mut self, context: &Context<'_>, index: usize, params: [usize; 2]) -> Result<String> {
        let name = context.input_name(index)?;
        let integers = self.constants.integers(name).map_err(|reason| {
            context.unsupported(&format!("reads its weights `{name}`, {reason}"), "give them as constants")
        })?;
        let params = self.params(context, params, 0, integers.levels)?;
        let [directions, inputs, gates] = integers.dims[..] else {
            return Err(context.invalid(format!("its weights `{name}` have the shape {:?}", integers.dims)));
        };
        let count = params.scales.len();
        if ![1, directions, directions * gates].contains(&count) {
            return Err(context.invalid(format!("`{name}` of shape {:?} has {count} scales", integers.dims)));
        }
        let each = if count == directions * gates { gates } else { 1 };
        let mut data = Vec::with_capacity(integers.data.len());
        for direction in 0..directions {
            for gate in 0..gates {
                let scale = if count == 1 { 0 } else { direction * each + gate % each };
                data.extend((0..inputs).map(|i| {
                    let q = integers.data[(direction * inputs + i) * gates + gate];
                    (i64::from(q) - i64::from(params.zero_points[scale])) as f32 * params.scales[scale]
                }));
            }
        }
        let float = format!("{name} (dequantized)");
        self.initializers.push(constants::f32_initializer(&float, &[directions, gates, inputs], &data));
        self.given.params.insert(float.clone(), Params { axis: 0, ..params });
        Ok(float)
    }
}
