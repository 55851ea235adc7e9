//! A device: an OpenSSH server of this test's own on a free port of this machine, with its own keys.
//!
//! Each command of a connection runs in a shell that first reads `setup.sh`, and that finds what is in `bin`
//! before the system's programs: so a device gets its faults.
#![allow(dead_code)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub struct Server {
    pub dir: tempfile::TempDir,
    child: Child,
    port: u16,
    user: String,
}

/// What every command finds first.
const SHELL: &str = "#!/bin/sh\nD=DIR\nexport HOME=$D/home PATH=$D/bin:$PATH\nunset XDG_CACHE_HOME\n. $D/setup.sh\n\
                     exec sh -c \"$SSH_ORIGINAL_COMMAND\"\n";

impl Server {
    /// Starts it; says so where there is no sshd.
    pub fn start(test: &str) -> Option<Server> {
        let found = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"].into_iter().map(Path::new);
        let Some(sshd) = found.into_iter().find(|path| path.exists()) else {
            let expected = std::env::var_os("EDGEPACK_EXPECT_SSHD").is_some();
            assert!(!expected, "there is no sshd");
            let _ =
                writeln!(std::io::stderr(), "SKIPPED {test}: there is no sshd (apt install openssh-server)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        for folder in ["home", "bin"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for key in ["host", "user", "stranger"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(key));
            assert!(keygen.status().unwrap().success());
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap().trim().to_string();
        if user == "root" {
            // Where sshd gives up its privileges; Debian's init script makes it.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let path = dir.path().display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {path}/host\nAuthorizedKeysFile {path}/user.pub\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nPidFile none\nForceCommand {path}/shell\nMaxStartups 100\n"
        );
        std::fs::write(dir.path().join("sshd_config"), config).unwrap();
        let ssh_config = format!(
            "Host *\n  IdentityFile {path}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {path}/known_hosts\n  \
             GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n"
        );
        std::fs::write(dir.path().join("ssh_config"), ssh_config).unwrap();
        std::fs::write(dir.path().join("setup.sh"), "").unwrap();
        program(&dir.path().join("shell"), &SHELL.replace("DIR", &path));
        let mut server = Server { child: listen(sshd, dir.path(), port), dir, port, user };
        server.know("host");
        Some(server)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its name for `--device`.
    pub fn name(&self) -> String {
        format!("ssh://{}@127.0.0.1:{}", self.user, self.port)
    }

    /// Makes this key the one that is known of the server; `None` for none.
    pub fn know<'a>(&mut self, key: impl Into<Option<&'a str>>) {
        let line = key.into().map(|key| {
            let public = std::fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
            format!("[127.0.0.1]:{} {public}", self.port)
        });
        std::fs::write(self.path("known_hosts"), line.unwrap_or_default()).unwrap();
    }

    /// What runs on the device before each command.
    pub fn setup(&self, script: &str) {
        std::fs::write(self.path("setup.sh"), script).unwrap();
    }

    /// A program that the device finds instead of its own; DIR is the server's folder.
    pub fn shim(&self, name: &str, script: &str) {
        let text = format!("#!/bin/sh\n{}\n", script.replace("DIR", &self.dir.path().display().to_string()));
        program(&self.dir.path().join("bin").join(name), &text);
    }

    pub fn unshim(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join("bin").join(name)).unwrap();
    }

    /// `edgepack` with what it needs to reach this device.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgepack"));
        command.args(args).args(["--device", &self.name()]).current_dir(self.dir.path());
        command.env("EDGEPACK_SSH", format!("ssh -F {}", self.path("ssh_config").display()));
        command.env_remove("EDGEPACK_ISA").env(agent_variable(), agent());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must fail with this code; gives what it complained of.
    #[track_caller]
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        error
    }

    /// The device's files in `folder`, without their folders.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Kills the processes that serve a connection, and those that they have started; the server goes on.
    pub fn kill_connections(&self) {
        for child in children(self.child.id()) {
            kill_tree(child);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill_connections();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(sshd: &Path, dir: &Path, port: u16) -> Child {
    let log = std::fs::File::create(dir.join("sshd.log")).unwrap();
    let child = Command::new(sshd)
        .args(["-D", "-e", "-f"])
        .arg(dir.join("sshd_config"))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    wait_for("sshd", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}

/// Says on stderr, past the capture of test output, that something was not tested.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Waits until something holds.
#[track_caller]
pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} did not come about in a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes a program.
pub fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Processes whose parent is `id` (proc(5), stat: the fourth field, behind the name in parentheses).
fn children(id: u32) -> Vec<u32> {
    let parent = |entry: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let own = entries.filter(|entry| parent(entry) == Some(id));
    own.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

fn kill_tree(id: u32) {
    let below = children(id);
    let _ = Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status();
    below.into_iter().for_each(kill_tree);
}

/// The environment variable that names the agent for this machine.
pub fn agent_variable() -> String {
    let arch = if cfg!(target_arch = "arm") { "ARMV7".into() } else { std::env::consts::ARCH.to_uppercase() };
    format!("EDGEPACK_AGENT_{arch}")
}

/// The agent for this machine, built like the command that is tested.
pub fn agent() -> &'static Path {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_edgepack")).parent().unwrap();
        let profile = folder.file_name().unwrap().to_str().unwrap();
        let profile = if profile == "debug" { "dev" } else { profile };
        let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--offline", "-p", "edgepack-agent", "--profile", profile]);
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        assert!(build.status().unwrap().success(), "the agent does not build");
        folder.join("edgepack-agent")
    })
}
