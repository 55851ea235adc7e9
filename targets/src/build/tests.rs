use super::*;
use crate::triple::TRIPLES;

fn plan(board: &str, product: Product, tool: Tool, libc: Option<LibcFamily>) -> Plan<'static> {
    let board = Board::find(board).unwrap();
    let linux = board.linux().unwrap();
    let libc = libc.unwrap_or(linux.libc.family);
    let triple =
        TRIPLES.iter().find(|triple| triple.arch == board.arch && triple.libc == Some(libc)).unwrap();
    assert!(product.tools(libc).contains(&tool));
    let linkage = linkage(linux, product, tool, libc);
    Plan { product, tool, triple, linkage, workspace: Path::new("/clone") }
}

#[test]
fn folder_outside_a_clone_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = workspace(folder.path()).unwrap_err().to_string();
    assert!(error.contains("git clone") && error.contains("--workspace"), "{error}");
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(workspace(&own.join("src")).unwrap(), own.parent().unwrap());
}

#[test]
fn every_board_has_a_tool_for_both_products() {
    for board in Board::all() {
        let Some(linux) = board.linux() else { continue };
        assert!(!Product::Agent.tools(linux.libc.family).is_empty(), "{}", board.name);
        assert!(!Product::Library.tools(linux.libc.family).is_empty(), "{}", board.name);
        for libc in [LibcFamily::Glibc, LibcFamily::Musl] {
            let triple = TRIPLES.iter().find(|triple| triple.arch == board.arch && triple.libc == Some(libc));
            assert!(triple.is_some(), "{} with {}", board.name, libc.name());
        }
    }
}

/// What is run, by product, tool, board and C library.
#[test]
fn commands_are_for_the_boards_c_library() {
    use LibcFamily::{Glibc, Musl};
    use Product::{Agent, Library};
    for (board, product, tool, libc, words, flags, linkage) in [
        (
            "rpi4",
            Agent,
            Tool::Cargo,
            None,
            "build --profile device -p edgepack-agent --target aarch64-unknown-linux-gnu",
            "-C target-feature=+crt-static -C force-unwind-tables=no",
            "static",
        ),
        (
            "rpi4",
            Agent,
            Tool::Zigbuild,
            None,
            "zigbuild --profile device -p edgepack-agent --target aarch64-unknown-linux-gnu.2.31",
            "-C force-unwind-tables=no",
            "for glibc 2.31 and newer",
        ),
        (
            "generic-armv7",
            Library,
            Tool::Zigbuild,
            None,
            "zigbuild --profile library -p edgepack-capi --target armv7-unknown-linux-gnueabihf.2.17",
            "",
            "for glibc 2.17 and newer",
        ),
        (
            "rpi2",
            Library,
            Tool::Cross,
            None,
            "build --profile library -p edgepack-capi --target armv7-unknown-linux-gnueabihf",
            "",
            "for glibc 2.28 and newer",
        ),
        (
            "android-arm64",
            Agent,
            Tool::Zigbuild,
            Some(Musl),
            "zigbuild --profile device -p edgepack-agent --target aarch64-unknown-linux-musl",
            "-C link-self-contained=no -C force-unwind-tables=no",
            "static",
        ),
        (
            "android-arm64",
            Library,
            Tool::Zigbuild,
            Some(Glibc),
            "zigbuild --profile library -p edgepack-capi --target aarch64-unknown-linux-gnu.2.17",
            "",
            "for glibc 2.17 and newer",
        ),
        (
            "android-arm64",
            Library,
            Tool::Cargo,
            None,
            "build --profile library -p edgepack-capi --target aarch64-linux-android --features jni",
            "-C link-arg=-Wl,-z,max-page-size=16384",
            "for Android's API level 24 and higher",
        ),
    ] {
        let plan = plan(board, product, tool, libc);
        let found = (plan.words().join(" "), plan.flags(), plan.linkage.to_string());
        assert_eq!(found, (words.into(), flags.into(), linkage.into()), "{board}");
    }
}

#[test]
fn emulated_machine_has_an_agent_that_is_put_where_the_harness_looks() {
    for board in ["mps2-an385", "mps2-an386", "qemu-riscv32"] {
        let board = Board::find(board).unwrap();
        let folder = Path::new(".");
        let request =
            Request { board: &board, product: Product::Agent, folder, tool: None, libc: None, output: None };
        let plan = machine_plan(&request, Path::new("/clone")).unwrap();
        let words = format!("build --profile firmware -p edgepack-mcu --target {}", board.triple);
        assert_eq!((plan.words().join(" "), plan.flags()), (words, String::new()));
        let place = plan.agent_folder(&board).join("edgepack-mcu");
        assert_eq!(place, Path::new("/clone").join(board.agent_path()));
        let request = Request { tool: Some(Tool::Zigbuild), ..request };
        assert!(machine_plan(&request, Path::new("/clone")).is_none());
    }
}

#[test]
fn zig_and_containers_do_not_take_the_linker_of_the_environment() {
    let of = |tool| {
        let plan = plan("rpi4", Product::Agent, tool, None);
        let command = plan.command(Path::new("/t"));
        let mut set = command.get_envs().filter(|(name, _)| name.to_string_lossy().ends_with("_LINKER"));
        set.next().map(|(_, linker)| linker.map(|linker| linker.to_string_lossy().into_owned()))
    };
    assert_eq!((of(Tool::Zigbuild), of(Tool::Cross)), (Some(None), Some(None)));
    // One that is named there already stays.
    let named = std::env::var_os("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER").is_some();
    let other = !named && std::env::consts::ARCH != "aarch64";
    assert_eq!(of(Tool::Cargo), other.then(|| Some("aarch64-linux-gnu-gcc".into())));
}

#[test]
fn only_a_static_agent_is_put_where_every_board_finds_it() {
    let rpi4 = Board::find("rpi4").unwrap();
    for (tool, libc, folder) in [
        (Tool::Cargo, None, "/clone/target/aarch64-unknown-linux-gnu/device"),
        (Tool::Zigbuild, Some(LibcFamily::Musl), "/clone/target/aarch64-unknown-linux-gnu/device"),
        (Tool::Zigbuild, None, "/clone/target/boards/rpi4"),
    ] {
        let folder_found = plan("rpi4", Product::Agent, tool, libc).agent_folder(&rpi4);
        assert_eq!(folder_found, Path::new(folder), "{tool:?}");
    }
    let own = Board { name: "../../elsewhere".into(), ..rpi4 };
    let folder = plan("rpi4", Product::Agent, Tool::Zigbuild, None).agent_folder(&own);
    assert_eq!(folder, Path::new("/clone/target/boards/elsewhere"));
}

#[test]
fn what_no_tool_builds_is_refused_with_what_does() {
    let board = Board::find("android-arm64").unwrap();
    let request = Request {
        board: &board,
        product: Product::Agent,
        folder: Path::new("."),
        tool: Some(Tool::Cross),
        libc: None,
        output: None,
    };
    let error = |request: &Request| choose(request, Path::new("/")).unwrap_err().to_string();
    let found = error(&request);
    assert!(
        found.contains("the agent is not built for aarch64 with bionic by cross; --with cargo does"),
        "{found}"
    );
    let found =
        error(&Request { product: Product::Library, tool: None, libc: Some(LibcFamily::Musl), ..request });
    assert!(found.contains("the C library is not built for aarch64 with musl; give another"), "{found}");
    let board = Board::find("nucleo-l4r5zi").unwrap();
    let found = error(&Request { board: &board, tool: None, libc: None, ..request });
    for part in ["no operating system", "edgepack new-firmware", "--target nucleo-l4r5zi", "cargo build"] {
        assert!(found.contains(part), "{part}: {found}");
    }
    let board = Board::find("mps2-an386").unwrap();
    let found =
        error(&Request { board: &board, product: Product::Library, tool: None, libc: None, ..request });
    assert!(found.contains("the C library is not built for mps2-an386"), "{found}");
}

#[test]
fn program_of_another_kind_is_refused() {
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let here = if cfg!(target_arch = "aarch64") { "rpi4" } else { "x86-64-v3" };
    let other = if cfg!(target_arch = "aarch64") { "x86-64-v3" } else { "rpi4" };
    let check =
        |board, product, bytes: &[u8]| plan(board, product, Tool::Cargo, None).check(bytes).unwrap_err();
    assert!(check(other, Product::Agent, &own).contains("it is for machine"));
    assert!(check(here, Product::Agent, &own).contains("needs a loader"));
    assert!(check(here, Product::Agent, b"#!/bin/sh").contains("no program"));
    let mut of_the_future = plan(here, Product::Library, Tool::Cargo, None);
    of_the_future.linkage = Linkage::Glibc(GlibcVersion { major: 2, minor: 999 });
    assert!(of_the_future.check(&own).unwrap_err().contains("has its symbols"));
    let mut of_the_past = of_the_future;
    of_the_past.linkage = Linkage::Glibc(GlibcVersion { major: 2, minor: 2 });
    assert!(of_the_past.check(&own).unwrap_err().contains("the oldest system of the board has 2.2"));
}

#[test]
fn cross_that_falls_back_to_the_host_has_failed() {
    let mut seen = Vec::new();
    let script = "echo 'Falling back to `cargo` on the host.' >&2";
    let error = run(Command::new("sh").args(["-c", script]), &mut |line| seen.push(line.to_string()));
    assert!(error.unwrap_err().to_string().contains("no image for the target"));
    assert_eq!(seen, ["Falling back to `cargo` on the host."]);
    let error = run(Command::new("sh").args(["-c", "exit 3"]), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("failed with exit status: 3"), "{error}");
}
