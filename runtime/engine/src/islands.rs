//! Islands: the parts of a model that tract runs, for there are no steps of edgepack's own for them.
//!
//! A package carries each as NNEF (Khronos, "Neural Network Exchange Format", 1.0, with tract's extensions), which
//! is read here without protobuf. Islands allocate, and their results are not the same bits on every processor.

mod registry;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use edgepack_core::format::plan::{ElemType, IslandTensor, Op, Span};
use edgepack_core::format::{self, Package};
pub use registry::nnef;
use tract_nnef::internal::*;

use crate::Error;

/// What tract says, with all that led to it.
fn text(error: &TractError) -> String {
    format!("{error:#}")
}

/// Graphs and values come from files: where they make tract panic, that is an error here (where panics unwind).
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("tract broke off: {}", text.or(panic.downcast_ref().copied()).unwrap_or("a panic")))
    })
}

/// An island that is ready to run.
#[derive(Debug)]
pub struct Island {
    inputs: Vec<(IslandTensor, Span)>,
    outputs: Vec<(IslandTensor, Span)>,
    runnable: Arc<TypedRunnableModel>,
}

impl Island {
    /// Loads a section: reads its graph, and prepares it for this processor.
    ///
    /// # Errors
    /// What tract says, or that the graph's inputs and outputs are not those of the section.
    pub fn load(island: &format::Island<'_>) -> Result<Self, String> {
        guarded(|| Self::load_unguarded(island))
    }

    fn load_unguarded(island: &format::Island<'_>) -> Result<Self, String> {
        let inputs: Vec<_> = island.inputs().collect();
        let outputs: Vec<_> = island.outputs().collect();
        let model = nnef().model_for_read(&mut &island.graph[..]).map_err(|error| text(&error))?;
        let expect = |outlets: &[OutletId], tensors: &[(IslandTensor, Span)], what: &str| {
            let same = |(&outlet, (tensor, _)): (&OutletId, &(IslandTensor, Span))| {
                let fact = model.outlet_fact(outlet).map_err(|error| text(&error))?;
                let shape = fact.shape.as_concrete().map(<[usize]>::to_vec);
                Ok::<_, String>(
                    shape == Some(shape_of(tensor)) && fact.datum_type == datum_type(tensor.dtype),
                )
            };
            let all = outlets.iter().zip(tensors).map(same).collect::<Result<Vec<_>, _>>()?;
            match outlets.len() == tensors.len() && all.iter().all(|&same| same) {
                true => Ok(()),
                false => Err(format!("its graph's {what}s are not those that its section names")),
            }
        };
        expect(&model.inputs, &inputs, "input")?;
        expect(&model.outputs, &outputs, "output")?;
        let optimized = model.clone().into_optimized().and_then(|model| model.into_runnable());
        Ok(Self { inputs, outputs, runnable: optimized.map_err(|error| text(&error))? })
    }

    /// Runs it: `input` and `output` are laid out as [`format::Island`] says.
    ///
    /// # Errors
    /// What tract says of values that it does not take.
    pub fn run(&self, input: &[u8], output: &mut [u8]) -> Result<(), String> {
        guarded(|| self.run_unguarded(input, output))
    }

    fn run_unguarded(&self, input: &[u8], output: &mut [u8]) -> Result<(), String> {
        let part = |span: &Span| span.offset as usize..(span.offset + span.bytes) as usize;
        let value = |(tensor, span): &(IslandTensor, Span)| {
            let bytes = input.get(part(span)).ok_or("its input is too short")?;
            Ok::<TValue, String>(tensor_of(tensor, bytes).map_err(|error| text(&error))?.into())
        };
        let values = self.inputs.iter().map(value).collect::<Result<TVec<_>, _>>()?;
        let results = self.runnable.run(values).map_err(|error| text(&error))?;
        for ((tensor, span), result) in self.outputs.iter().zip(&results) {
            if result.shape() != shape_of(tensor) || result.datum_type() != datum_type(tensor.dtype) {
                return Err(format!("it gives {:?}, not {:?}", result.shape(), shape_of(tensor)));
            }
            let view = result.try_as_plain_ram().map_err(|error| text(&error))?;
            let room = output.get_mut(part(span)).ok_or("its output is too short")?;
            // Fewer than `room` has, where tract's tensor is none of plain elements.
            match view.as_bytes().get(..room.len()) {
                Some(bytes) => room.copy_from_slice(bytes),
                None => return Err("it gives fewer elements than its shape has".into()),
            }
        }
        Ok(())
    }
}

fn shape_of(tensor: &IslandTensor) -> Vec<usize> {
    tensor.dims.as_slice().iter().map(|&size| size as usize).collect()
}

/// tract's name of a type.
pub fn datum_type(of: ElemType) -> DatumType {
    match of {
        ElemType::I8 => DatumType::I8,
        ElemType::F32 => DatumType::F32,
        ElemType::I32 => DatumType::I32,
        ElemType::I64 => DatumType::I64,
        ElemType::Bool => DatumType::Bool,
        ElemType::U8 => DatumType::U8,
        ElemType::I16 => DatumType::I16,
        ElemType::U16 => DatumType::U16,
        ElemType::U32 => DatumType::U32,
        ElemType::U64 => DatumType::U64,
        ElemType::F16 => DatumType::F16,
        ElemType::F64 => DatumType::F64,
    }
}

/// A tensor of little-endian elements.
fn tensor_of(tensor: &IslandTensor, bytes: &[u8]) -> TractResult<Tensor> {
    fn of<T: Datum + Copy, const N: usize>(
        shape: &[usize],
        bytes: &[u8],
        read: impl Fn([u8; N]) -> T,
    ) -> TractResult<Tensor> {
        let elems: Vec<T> = bytes.as_chunks::<N>().0.iter().map(|&elem| read(elem)).collect();
        Tensor::from_shape(shape, &elems)
    }
    let shape = &shape_of(tensor)[..];
    match tensor.dtype {
        ElemType::I8 => of(shape, bytes, i8::from_le_bytes),
        ElemType::F32 => of(shape, bytes, f32::from_le_bytes),
        ElemType::I32 => of(shape, bytes, i32::from_le_bytes),
        ElemType::I64 => of(shape, bytes, i64::from_le_bytes),
        // Whatever an application gives: everything but 0 is true.
        ElemType::Bool => of(shape, bytes, |[byte]| byte != 0),
        ElemType::U8 => of(shape, bytes, u8::from_le_bytes),
        ElemType::I16 => of(shape, bytes, i16::from_le_bytes),
        ElemType::U16 => of(shape, bytes, u16::from_le_bytes),
        ElemType::U32 => of(shape, bytes, u32::from_le_bytes),
        ElemType::U64 => of(shape, bytes, u64::from_le_bytes),
        ElemType::F16 => of(shape, bytes, f16::from_le_bytes),
        ElemType::F64 => of(shape, bytes, f64::from_le_bytes),
    }
}

/// The islands of a package.
#[derive(Debug)]
pub(crate) struct Islands(Vec<Island>);

impl Islands {
    /// Loads all that steps name.
    pub fn load(path: &Path, package: &Package<'_>) -> Result<Self, Error> {
        let sections = package.steps().filter_map(|step| match step.op {
            Op::Island(island) => Some(island.section + 1),
            _ => None,
        });
        let load = |index: u32| {
            let section = package.island(index).ok_or_else(|| "it is none".to_string());
            section.and_then(|island| Island::load(&island)).map_err(|reason| Error::Island {
                path: path.into(),
                index: index as usize,
                reason,
            })
        };
        (0..sections.max().unwrap_or(0)).map(load).collect::<Result<_, _>>().map(Self)
    }
}

thread_local! {
    /// Why the last island that failed on this thread did: islands run on the thread that asks for the run.
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Why the last island that failed on this thread did.
pub(crate) fn last_error() -> String {
    LAST_ERROR.take()
}

impl edgepack_core::Islands for Islands {
    fn run(&self, section: u32, input: &[u8], output: &mut [u8]) -> bool {
        let island = self.0.get(section as usize).ok_or("it is not loaded".to_string());
        let done = island.and_then(|island| island.run(input, output));
        done.map_err(|reason| LAST_ERROR.set(reason)).is_ok()
    }
}
