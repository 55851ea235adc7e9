//! What people read when a package is refused: where, what, and what to do.

use std::string::ToString;

use crate::{Error, FORMAT_VERSION, Place};

/// Every kind of error, its code, and its whole message.
const MESSAGES: &[(Error, u32, &str)] = &[
    (Error::NotAPackage, 1, "no edgepack package: it does not start with EDGEPACK"),
    (
        Error::Version { found: FORMAT_VERSION + 1 },
        2,
        "written by a newer edgepack (format 6, this build reads 5): update this program, or pack the model \
         again with the edgepack of this version",
    ),
    (Error::Version { found: 0 }, 2, "format 0 is no longer read (this build reads 5): pack the model again"),
    (
        Error::Length { expected: 960, found: 512 },
        3,
        "the package says that it has 960 bytes, but 512 are there: copy it again",
    ),
    (Error::Alignment, 4, "the package must lie at a multiple of 64 bytes in memory"),
    (
        Error::Damaged(Place::Section(3)),
        5,
        "section 3 is damaged (its hash does not match): copy the package again",
    ),
    (
        Error::Malformed { place: Place::Step(7), field: "multiplier" },
        6,
        "step 7: multiplier is not possible: this is not what edgepack writes, pack the model again",
    ),
    (Error::Missing { section: "weights" }, 7, "the section weights is missing: pack the model again"),
];

#[test]
fn messages_say_where_what_and_what_to_do_and_codes_never_change() {
    for (error, code, message) in MESSAGES {
        assert_eq!((error.code(), error.to_string().as_str()), (*code, *message));
    }
}

#[test]
fn places_have_the_names_that_people_know() {
    let names = [
        (Place::Header, "header"),
        (Place::Section(0), "section 0"),
        (Place::Head, "plan"),
        (Place::Input(1), "input 1"),
        (Place::Output(2), "output 2"),
        (Place::Step(3), "step 3"),
        (Place::Golden(4), "golden sample 4"),
    ];
    for (place, name) in names {
        assert_eq!(place.to_string(), name);
    }
}
