//! NonMaxSuppression. ONNX gives as many rows as there are boxes selected; a plan has static shapes, so that ours are
//! as many as there can be, and rows of -1 behind the last: what TensorRT's INMS and OpenVINO do.

use super::{Context, Importer, Note};
use crate::error::Result;
use crate::graph::{Op, Suppression};

pub(super) fn non_max_suppression(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let [boxes, scores] = [importer.input(context, 0)?, importer.input(context, 1)?];
    let dims = [boxes, scores].map(|id| importer.graph.dims(id).to_vec());
    let ([images, count, 4], [batch, classes, scored]) = (&dims[0][..], &dims[1][..]) else {
        return Err(context.invalid(format!(
            "its boxes are {:?} and its scores {:?}, not [batch, boxes, 4] and [batch, classes, boxes]",
            dims[0], dims[1]
        )));
    };
    if images != batch || count != scored {
        return Err(context.invalid(format!("scores of shape {:?} for boxes of {:?}", dims[1], dims[0])));
    }
    let number = |index: usize, what: &str| -> Result<Option<f32>> {
        let Some(name) = context.node.input.get(index).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let constant = importer.f32_constant(name).ok_or_else(|| {
            context.unsupported(
                &format!("computes its {what} `{name}` while the model runs"),
                "edgepack needs it as a constant: give it as a number when exporting, or replace the model's input \
                 by an initializer",
            )
        })?;
        match constant.data[..] {
            [value] if !value.is_nan() => Ok(Some(value)),
            _ => Err(context.invalid(format!("its {what} is {:?}, not one number", constant.data))),
        }
    };
    // A number of 64 bits that is rounded is beyond any number of boxes.
    let most = number(2, "max_output_boxes_per_class")?.unwrap_or(0.0);
    let iou_threshold = number(3, "iou_threshold")?.unwrap_or(0.0);
    let score_threshold = number(4, "score_threshold")?.unwrap_or(f32::NEG_INFINITY);
    if most < 1.0 {
        return Err(context.unsupported(
            "selects no box at all: its max_output_boxes_per_class is 0, or left out",
            "edgepack has no tensors of 0 rows: give max_output_boxes_per_class when exporting",
        ));
    }
    if !(0.0..=1.0).contains(&iou_threshold) {
        return Err(context.invalid(format!("its iou_threshold is {iou_threshold}, not from 0 to 1")));
    }
    let most = (most as usize).min(*count);
    let rows = batch * classes * most;
    let centers = context.attributes().int("center_point_box", 0) != 0;
    let of = Suppression { most, iou_threshold, score_threshold, centers };
    if let Some(name) = context.node.output.first() {
        importer.facts.learn_integers(name, &[rows, 3]);
        importer.notes.push(Note {
            node: context.name.clone(),
            op: context.node.op_type.clone(),
            message: format!(
                "its output `{name}` is padded with -1 to {rows} rows: {batch} x {classes} classes x {most} boxes are \
                 the most that it can select"
            ),
            remedy: "stop at the first row of -1; what the model gathers by such a row is the last element, as -1 \
                     names it in ONNX. A smaller max_output_boxes_per_class makes fewer rows"
                .into(),
        });
    }
    let result =
        importer.part(context, "selected", Op::NonMaxSuppression(of), vec![boxes, scores], vec![rows, 3]);
    importer.result(context, 0, result)
}
