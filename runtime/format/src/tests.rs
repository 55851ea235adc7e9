//! What FORMAT.md promises, held against packages that are right, damaged and hostile.

mod container;
mod float;
mod golden;
mod hostile;
mod hostile_ops;
mod hostile_rows;
mod int16;
mod integers;
mod islands;
mod messages;
mod mutations;
mod operations;
mod parts;
mod reach;
mod round_trip;
mod schemes;
