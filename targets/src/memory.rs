//! Where a linker puts what on a microcontroller.

use crate::{Board, Boot, Region};

/// KiB of the stack: what `edgepack new-firmware` makes of the bundled model for a Cortex-M4 needs between 8 and 9 (it
/// runs with 9, and not with 8), and 5.3 of them are the frame of one depthwise convolution.
const STACK_KIB: u32 = 12;

/// Bytes of the RP2040's second-stage boot loader.
const BOOT2_BYTES: u32 = 256;

impl Board {
    /// `memory.x` of the crates cortex-m-rt and riscv-rt: where a linker puts what. `None` of a board with an operating
    /// system, and of one whose boot loader wants another linker script.
    ///
    /// The stack is below all else of the RAM, so that one that is too deep ends where there is no memory, or none that
    /// can be written: it is a fault, and never other data.
    pub fn memory_x(&self) -> Option<String> {
        let own = self.microcontroller()?;
        let stack_kib = self.stack_kib()?;
        let region = |name: &str, origin: u32, length: &str| {
            format!("  {name} : ORIGIN = {origin:#010X}, LENGTH = {length}\n")
        };
        let Region { origin: flash, kib: flash_kib } = own.flash;
        let mut regions = match own.boot {
            Some(Boot::EspIdf) => return None,
            Some(Boot::Rp2040Boot2) => {
                region("BOOT2", flash, &BOOT2_BYTES.to_string())
                    + &region("FLASH", flash + BOOT2_BYTES, &format!("{flash_kib}K - {BOOT2_BYTES}"))
            }
            Some(Boot::Rp2350ImageDef) | None => region("FLASH", flash, &format!("{flash_kib}K")),
        };
        regions += &region("STACK", own.ram.origin, &format!("{stack_kib}K"));
        regions +=
            &region("RAM", own.ram.origin + stack_kib * 1024, &format!("{}K", own.ram.kib - stack_kib));
        let more = if self.arch == "riscv32" { RISCV } else { "" };
        let boot = match own.boot {
            Some(Boot::Rp2040Boot2) => BOOT2,
            Some(Boot::Rp2350ImageDef) => IMAGE_DEF,
            Some(Boot::EspIdf) | None => "",
        };
        Some(format!("MEMORY\n{{\n{regions}}}\n{STACK}{more}{boot}"))
    }

    /// KiB of the stack in [`Board::memory_x`], at the start of the RAM; `None` of a board with an operating system.
    pub fn stack_kib(&self) -> Option<u32> {
        Some(STACK_KIB.min(self.microcontroller()?.ram.kib / 2))
    }
}

const STACK: &str = "
/* Below all else of the RAM: a stack that is too deep leaves it, instead of changing other data. */
_stack_end = ORIGIN(STACK);
_stack_start = ORIGIN(STACK) + LENGTH(STACK);
";

const RISCV: &str = "
REGION_ALIAS(\"REGION_TEXT\", FLASH);
REGION_ALIAS(\"REGION_RODATA\", FLASH);
REGION_ALIAS(\"REGION_DATA\", RAM);
REGION_ALIAS(\"REGION_BSS\", RAM);
REGION_ALIAS(\"REGION_HEAP\", RAM);
REGION_ALIAS(\"REGION_STACK\", STACK);
";

const BOOT2: &str = "
/* The second-stage boot loader, which the boot ROM runs first. */
SECTIONS
{
  .boot2 ORIGIN(BOOT2) :
  {
    KEEP(*(.boot2));
  } > BOOT2
} INSERT BEFORE .text;
";

const IMAGE_DEF: &str = "
/* What the boot ROM looks for in the first 4 KiB of the flash; the program follows it. */
SECTIONS
{
  .start_block : ALIGN(4)
  {
    KEEP(*(.start_block));
  } > FLASH
} INSERT AFTER .vector_table;
_stext = ALIGN(ADDR(.start_block) + SIZEOF(.start_block), 64);
";

#[cfg(test)]
mod tests {
    use crate::Board;

    #[test]
    fn regions_are_the_boards_and_the_stack_is_below_all_else_of_the_ram() {
        let of = |name: &str| Board::find(name).unwrap().memory_x().unwrap();
        let regions = "MEMORY\n{\n  FLASH : ORIGIN = 0x08000000, LENGTH = 2048K\n  \
                       STACK : ORIGIN = 0x20000000, LENGTH = 12K\n  \
                       RAM : ORIGIN = 0x20003000, LENGTH = 628K\n}\n";
        assert!(of("nucleo-l4r5zi").starts_with(regions), "{}", of("nucleo-l4r5zi"));
        let rp2040 = of("rp2040");
        for part in [
            "  BOOT2 : ORIGIN = 0x10000000, LENGTH = 256\n",
            "  FLASH : ORIGIN = 0x10000100, LENGTH = 2048K - 256\n",
            "KEEP(*(.boot2))",
        ] {
            assert!(rp2040.contains(part), "{rp2040}");
        }
        assert!(of("rp2350").contains("INSERT AFTER .vector_table"));
        assert!(of("qemu-riscv32").contains("REGION_ALIAS(\"REGION_STACK\", STACK)"));
        assert!(of("nucleo-l4r5zi").contains("_stack_start") && !of("nucleo-l4r5zi").contains("INSERT"));
        for other in ["rpi4", "esp32-c3"] {
            assert_eq!(Board::find(other).unwrap().memory_x(), None);
        }
        assert_eq!(Board::find("rpi4").unwrap().stack_kib(), None);
    }
}
