//! Gemm and MatMul.

use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{BinaryKind, FullyConnected, Op, Tensor, ValueId};
use crate::unary::Unary;

/// `alpha * A * B + beta * C`, either of which may be transposed or a constant.
pub(super) fn gemm(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let attributes = context.attributes();
    let (alpha, beta) = (attributes.float("alpha", 1.0), attributes.float("beta", 1.0));
    let operand = |importer: &mut Importer, index: usize, name: &str| -> Result<ValueId> {
        let id = importer.input(context, index)?;
        if importer.graph.dims(id).len() != 2 {
            return Err(context.invalid(format!("its operand {index} is no matrix")));
        }
        Ok(match attributes.int(name, 0) {
            0 => id,
            _ => importer.transposed(context, id, index),
        })
    };
    let operands = [operand(importer, 0, "transA")?, operand(importer, 1, "transB")?];
    let columns = importer.graph.dims(operands[1])[1];
    let summand = match context.node.input.get(2).filter(|name| !name.is_empty()) {
        Some(_) => Some(importer.input(context, 2)?),
        None => None,
    };
    // One summand a column is the product's own.
    let constant = summand.and_then(|id| importer.graph.value(id).constant.clone());
    let bias = constant.and_then(|constant| match constant.dims[..] {
        [] | [1] | [1, 1] => Some(vec![constant.data[0] * beta; columns]),
        [n] | [1, n] if n == columns => Some(constant.data.iter().map(|b| b * beta).collect()),
        _ => None,
    });
    let left = summand.filter(|_| bias.is_none());
    let mut result = importer.product_of(context, operands, alpha, bias)?;
    if let Some(mut summand) = left {
        if beta != 1.0 {
            let function = Unary::Affine { scale: beta, shift: 0.0 };
            summand = match importer.graph.value(summand).constant.clone() {
                Some(Tensor { dims, data, .. }) => {
                    let data = data.iter().map(|x| x * beta).collect();
                    importer.constant_part(context, "summand", Tensor::new(dims, data))
                }
                None => importer.unary_part(context, "summand", function, summand),
            };
        }
        result = importer.binary_part(context, "sum", BinaryKind::Add, [result, summand])?;
    }
    importer.result(context, 0, result)
}

/// numpy's matmul: a vector on the left is a row, one on the right a column.
pub(super) fn matmul(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let [mut left, mut right] = [importer.input(context, 0)?, importer.input(context, 1)?];
    let (is_row, is_column) = (importer.graph.dims(left).len() == 1, importer.graph.dims(right).len() == 1);
    if is_row {
        let dims = vec![1, importer.graph.dims(left)[0]];
        left = importer.as_matrix(context, "row", left, dims);
    }
    if is_column {
        let dims = vec![importer.graph.dims(right)[0], 1];
        right = importer.as_matrix(context, "column", right, dims);
    }
    let mut result = importer.product_of(context, [left, right], 1.0, None)?;
    if is_row || is_column {
        let mut dims = importer.graph.dims(result).to_vec();
        if is_column {
            dims.pop();
        }
        if is_row {
            dims.remove(dims.len() - usize::from(!is_column) - 1);
        }
        result = importer.reshape_part(context, "vector", result, dims);
    }
    importer.result(context, 0, result)
}

impl Importer {
    /// `alpha * left * right + bias`; constants become weights.
    pub(super) fn product_of(
        &mut self,
        context: &Context<'_>,
        [left, right]: [ValueId; 2],
        alpha: f32,
        bias: Option<Vec<f32>>,
    ) -> Result<ValueId> {
        let [a, b] = [left, right].map(|id| self.graph.dims(id).to_vec());
        let (m, n) = (a[a.len() - 2], b[b.len() - 1]);
        let batch = super::parts::broadcast(&a[..a.len() - 2], &b[..b.len() - 2]);
        let Some(mut dims) = batch.filter(|_| a[a.len() - 1] == b[b.len() - 2]) else {
            return Err(context.invalid(format!("its operands are {a:?} and {b:?}")));
        };
        dims.extend([m, n]);
        let one_matrix = |dims: &[usize]| dims[..dims.len() - 2].iter().all(|&dim| dim == 1);
        let constants = [left, right].map(|id| self.graph.value(id).constant.clone());
        let scaled = |matrix: Tensor| if alpha == 1.0 { matrix } else { matrix.scaled(|_| alpha) };
        match constants {
            [None, Some(matrix)] if one_matrix(&b) && b.len() <= a.len() => {
                let weights = scaled(matrix.as_matrix().transposed());
                let fc = FullyConnected { weights, bias: bias.unwrap_or_else(|| vec![0.0; n]) };
                Ok(self.part(context, "product", Op::FullyConnected(fc), vec![left], dims))
            }
            // The transposed product of the transposed operands.
            [Some(matrix), None] if one_matrix(&a) && a.len() <= b.len() => {
                let weights = scaled(matrix.as_matrix());
                let product = self.matrix_part(context, "product", right, b.len() - 2, weights);
                self.with_bias(context, product, bias)
            }
            [None, None] => {
                let product = self.part(context, "product", Op::MatMul, vec![left, right], dims);
                let function = Unary::Affine { scale: alpha, shift: 0.0 };
                let product = match alpha {
                    1.0 => product,
                    _ => self.unary_part(context, "scaled", function, product),
                };
                self.with_bias(context, product, bias)
            }
            _ => Err(context.unsupported(
                &format!("multiplies {a:?} by {b:?}, of which one is a constant of several matrices"),
                "edgepack multiplies by one constant matrix: use one MatMul for each, or a grouped Conv",
            )),
        }
    }

    fn with_bias(
        &mut self,
        context: &Context<'_>,
        product: ValueId,
        bias: Option<Vec<f32>>,
    ) -> Result<ValueId> {
        let Some(bias) = bias.filter(|bias| bias.iter().any(|&b| b != 0.0)) else { return Ok(product) };
        let bias = self.constant_part(context, "bias", Tensor::new(vec![bias.len()], bias));
        self.binary_part(context, "with bias", BinaryKind::Add, [product, bias])
    }

    /// A transposed matrix.
    fn transposed(&mut self, context: &Context<'_>, id: ValueId, index: usize) -> ValueId {
        let what = format!("operand {index}, transposed");
        match self.graph.value(id).constant.clone() {
            Some(matrix) => self.constant_part(context, &what, matrix.transposed()),
            None => self.transpose_part(context, &what, id, vec![1, 0]),
        }
    }

    fn as_matrix(&mut self, context: &Context<'_>, what: &str, id: ValueId, dims: Vec<usize>) -> ValueId {
        match self.graph.value(id).constant.clone() {
            Some(constant) => self.constant_part(context, what, constant.reshaped(dims)),
            None => self.reshape_part(context, what, id, dims),
        }
    }
}
