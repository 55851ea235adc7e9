//! Packages and programs that do not have every operation.

use crate::{Error, Operation, OperationSet, Operations, Package, operations};

use super::parts::{CONV, DENSE, DEPTHWISE, Parts, with_aligned};

operations!(Dense: Conv);
operations!(OfChannels: Depthwise);
operations!(Both: Conv, Depthwise);

/// What a program with the operations of `O` says of some of the steps that there are.
fn verdict<O: Operations>(steps: &[usize]) -> Result<usize, Error> {
    let mut parts = Parts::everything();
    parts.steps = steps.iter().map(|&step| parts.steps[step]).collect();
    parts.head.steps = steps.len() as u32;
    with_aligned(&parts.package(), |bytes| {
        Package::<O>::parse_for(bytes).map(|package| package.steps().count())
    })
}

#[test]
fn a_convolution_that_is_depthwise_is_an_operation_of_its_own() {
    let outside = |step, operation| Err(Error::Operation { step, operation });
    assert_eq!(verdict::<Dense>(&[CONV, DENSE]), Ok(2));
    assert_eq!(verdict::<Dense>(&[CONV, DEPTHWISE]), outside(1, Operation::Depthwise));
    assert_eq!(verdict::<OfChannels>(&[DEPTHWISE]), Ok(1));
    assert_eq!(verdict::<OfChannels>(&[DEPTHWISE, CONV]), outside(1, Operation::Conv));
    assert_eq!(verdict::<Both>(&[CONV, DEPTHWISE, DENSE]), Ok(3));
}

#[test]
fn numbers_of_packages_are_those_of_steps() {
    for (number, &operation) in Operation::ALL.iter().enumerate() {
        let is_step = operation != Operation::Depthwise;
        assert_eq!(Operation::new(number as u32), is_step.then_some(operation));
        assert!(OperationSet::of(&[operation]).contains(operation));
    }
    assert_eq!(Operation::new(Operation::ALL.len() as u32), None);
}
