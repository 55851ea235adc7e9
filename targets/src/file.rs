//! A board's file: flat, and strict for its kind. What is unknown in it is an error with its line, which serde gives
//! for plain structures only, neither flattened nor tagged.

use serde::Deserialize;

use crate::board::{Board, Boot, Libc, Linux, Machine, Microcontroller, Qemu, Region, Reserve, System};

/// The only field that decides what the others are.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    kind: Kind,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Linux,
    Microcontroller,
}

/// The file of a kind: what every board has, and the kind's own fields.
macro_rules! file {
    ($file:ident => $kind:ident { $($(#[$default:meta])? $field:ident: $type:ty,)* }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $file {
            #[serde(rename = "kind", default)]
            _kind: Kind,
            #[serde(default)]
            name: String,
            description: String,
            arch: String,
            triple: String,
            cpu: String,
            clock_mhz: Option<u32>,
            isa: String,
            #[serde(default)]
            notes: String,
            #[serde(default)]
            sources: Vec<String>,
            $($(#[$default])? $field: $type,)*
        }

        impl From<$file> for Board {
            fn from(file: $file) -> Board {
                let $file { _kind, name, description, arch, triple, cpu, clock_mhz, isa, notes, sources, $($field,)* } =
                    file;
                let system = System::$kind($kind { $($field,)* });
                Board { name, description, arch, triple, cpu, clock_mhz, isa, system, notes, sources }
            }
        }
    };
}

file!(LinuxFile => Linux {
    cores: u32,
    l1d_kib: Option<u32>,
    l2_kib: Option<u32>,
    l3_kib: Option<u32>,
    ram_mib: u32,
    ram_budget_mib: u32,
    libc: Libc,
    cross_image: Option<String>,
    qemu: Option<Qemu>,
});

file!(MicrocontrollerFile => Microcontroller {
    flash: Region,
    ram: Region,
    #[serde(default)]
    reserve: Reserve,
    boot: Option<Boot>,
    probe_rs: Option<String>,
    qemu: Option<Machine>,
});

/// The board that a file describes, as yet unchecked.
pub(crate) fn read(text: &str) -> Result<Board, toml::de::Error> {
    Ok(match toml::from_str::<Head>(text)?.kind {
        Kind::Linux => toml::from_str::<LinuxFile>(text)?.into(),
        Kind::Microcontroller => toml::from_str::<MicrocontrollerFile>(text)?.into(),
    })
}
