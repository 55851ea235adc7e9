//! Which parts of the arena a step reads and writes.

use edgepack_format::plan::{Op, Operand, SoftmaxInput, SoftmaxOutput, Span};

/// What a step does with a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads all of it.
    Read,
    /// Writes all of it.
    Write,
    /// Writes a part of it.
    WritePart,
}

/// The spans of the arena that a step touches, without its scratch memory; reads first.
pub fn arena_spans(op: &Op) -> Vec<(Access, Span)> {
    let mut spans = Vec::new();
    let mut op = *op;
    // What is changed in place is seen once below, lest it be given two places.
    if let Op::RescaleRows(rows) = op {
        spans.push((Access::Read, rows.tensor));
    }
    visit(&mut op, &mut |access, span| spans.push((access, *span)));
    spans
}

/// Gives every span of the arena another offset.
pub fn relocate(op: &mut Op, mut place: impl FnMut(Span) -> u32) {
    visit(op, &mut |_, span| span.offset = place(*span));
}

fn visit(op: &mut Op, see: &mut impl FnMut(Access, &mut Span)) {
    match op {
        Op::Conv(conv) => {
            see(Access::Read, &mut conv.input);
            if let Some(residual) = &mut conv.residual {
                see(Access::Read, &mut residual.span);
            }
            see(Access::Write, &mut conv.output);
        }
        Op::Binary(binary) => {
            for operand in [&mut binary.lhs, &mut binary.rhs] {
                if let Operand::Arena(span) = operand {
                    see(Access::Read, span);
                }
            }
            see(Access::Write, &mut binary.output);
        }
        Op::Lookup(lookup) => {
            see(Access::Read, &mut lookup.input);
            see(Access::Write, &mut lookup.output);
        }
        Op::Pool(pool) => {
            see(Access::Read, &mut pool.input);
            see(Access::Write, &mut pool.output);
        }
        Op::Softmax(softmax) => {
            match &mut softmax.input {
                SoftmaxInput::I8 { input, .. } | SoftmaxInput::F32(input) => see(Access::Read, input),
            }
            match &mut softmax.output {
                SoftmaxOutput::I8 { output, .. } | SoftmaxOutput::F32(output) => see(Access::Write, output),
            }
        }
        Op::Fill(fill) => see(Access::Write, &mut fill.output),
        Op::Copy(copy) => {
            see(Access::Read, &mut copy.input);
            see(Access::WritePart, &mut copy.output);
        }
        Op::MatMul(product) => {
            see(Access::Read, &mut product.lhs);
            see(Access::Read, &mut product.rhs);
            see(Access::Write, &mut product.output);
        }
        Op::LayerNorm(norm) => {
            see(Access::Read, &mut norm.input);
            see(Access::Write, &mut norm.output);
        }
        Op::Recurrent(recurrent) => {
            see(Access::Read, &mut recurrent.input);
            see(Access::Write, &mut recurrent.output);
            see(Access::Write, &mut recurrent.state);
        }
        Op::Elementwise(op) => {
            for source in op.sources.iter_mut().flatten() {
                if let Operand::Arena(span) = &mut source.operand {
                    see(Access::Read, span);
                }
            }
            see(Access::Write, &mut op.output);
        }
        Op::ConvF32(conv) => {
            see(Access::Read, &mut conv.input);
            see(Access::Write, &mut conv.output);
        }
        Op::PoolF32(pool) => {
            see(Access::Read, &mut pool.input);
            see(Access::Write, &mut pool.output);
        }
        Op::MatMulF32(product) => {
            see(Access::Read, &mut product.lhs);
            see(Access::Read, &mut product.rhs);
            see(Access::Write, &mut product.output);
        }
        Op::LayerNormF32(norm) => {
            see(Access::Read, &mut norm.input);
            see(Access::Write, &mut norm.output);
        }
        Op::Gather(gather) => {
            if let Operand::Arena(span) = &mut gather.data {
                see(Access::Read, span);
            }
            see(Access::Read, &mut gather.indices);
            see(Access::Write, &mut gather.output);
        }
        Op::Scatter(scatter) => {
            see(Access::Read, &mut scatter.data);
            see(Access::Read, &mut scatter.indices);
            see(Access::Read, &mut scatter.updates);
            see(Access::Write, &mut scatter.output);
        }
        Op::TopK(top_k) => {
            see(Access::Read, &mut top_k.input);
            see(Access::Write, &mut top_k.output);
        }
        Op::NonMaxSuppression(op) => {
            see(Access::Read, &mut op.boxes);
            see(Access::Read, &mut op.scores);
            see(Access::Write, &mut op.output);
        }
        Op::QuantizeRows(rows) => {
            see(Access::Read, &mut rows.input);
            see(Access::Write, &mut rows.output);
            see(Access::Write, &mut rows.scales);
        }
        Op::RescaleRows(rows) => {
            see(Access::Read, &mut rows.scales);
            see(Access::Write, &mut rows.tensor);
        }
        Op::RecurrentF32(recurrent) => {
            see(Access::Read, &mut recurrent.input);
            see(Access::Write, &mut recurrent.output);
            see(Access::Write, &mut recurrent.state);
        }
        Op::Island(island) => {
            if island.input.bytes > 0 {
                see(Access::Read, &mut island.input);
            }
            see(Access::Write, &mut island.output);
        }
        Op::ConvI16(conv) => {
            see(Access::Read, &mut conv.input);
            if let Some(residual) = &mut conv.residual {
                see(Access::Read, &mut residual.span);
            }
            see(Access::Write, &mut conv.output);
        }
        Op::PoolI16(op) => {
            see(Access::Read, &mut op.pool.input);
            see(Access::Write, &mut op.pool.output);
        }
        Op::Convert(convert) => {
            see(Access::Read, &mut convert.input);
            see(Access::Write, &mut convert.output);
        }
    }
}
