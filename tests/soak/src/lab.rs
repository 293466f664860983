//! [`Lab`]: two networks and a router between them, in network namespaces that it makes itself. Whoever runs in one reaches
//! the other until the router is told to pass nothing on; then what is sent across vanishes without a word.
//!
//! A namespace lives as long as the process that holds it (`soak hold`), which ends when the lab is dropped or its parent is
//! gone.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::Failure;

/// How many networks there are.
pub const SIDES: usize = 2;

/// Two networks that can be parted.
#[derive(Debug)]
pub struct Lab {
    router: Holder,
    sides: Vec<Holder>,
    /// Holds the programs of [`Self::program_in`].
    scripts: TempDir,
    program: PathBuf,
    is_root: bool,
}

/// A process that does nothing but have a network namespace of its own.
#[derive(Debug)]
struct Holder {
    child: Child,
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lab {
    /// Makes the networks; `None` if the system gives us no namespaces, or has no program to make them with. `program` is
    /// one that calls [`hold`] if its first argument is `hold`.
    ///
    /// # Errors
    ///
    /// There are namespaces, but no network comes about between them.
    pub fn new(program: &Path) -> Result<Option<Self>, Failure> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let unshare: &[&str] = if is_root { &["unshare"] } else { &["unshare", "--map-root-user"] };
        let Some(router) = Holder::start(&[unshare, &["--net"][..]].concat(), program)? else {
            return Ok(None);
        };
        let mut lab = Self {
            router,
            sides: Vec::new(),
            scripts: tempfile::tempdir()?,
            program: program.to_owned(),
            is_root,
        };
        let has_ip =
            lab.command(&lab.router, &["ip", "link"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !has_ip.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        for side in 0..SIDES {
            let enter = lab.enter(&lab.router);
            let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
            let holder = Holder::start(&[&enter, &["unshare", "--net"][..]].concat(), program)?;
            lab.sides.push(holder.ok_or("a second namespace is refused")?);
            lab.connect(side)?;
        }
        lab.heal()?;
        Ok(Some(lab))
    }

    /// Returns the address of everybody on a side.
    #[must_use]
    pub fn address_of(side: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, u8::try_from(side + 1).unwrap_or(u8::MAX), 2)
    }

    /// Writes a program that runs the lab's program on a side.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn program_in(&self, side: usize) -> Result<PathBuf, Failure> {
        let path = self.scripts.path().join(format!("side-{side}"));
        let enter = self.enter(&self.sides[side]).join(" ");
        fs::write(&path, format!("#!/bin/sh\nexec {enter} '{}' \"$@\"\n", self.program.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Lets nothing pass from one side to the other.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn cut(&self) -> Result<(), Failure> {
        self.forward(0)
    }

    /// Lets everything pass.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn heal(&self) -> Result<(), Failure> {
        self.forward(1)
    }

    fn forward(&self, is_on: u8) -> Result<(), Failure> {
        let script = format!("echo {is_on} > /proc/sys/net/ipv4/ip_forward");
        self.run(&self.router, &["sh", "-c", &script])
    }

    /// Lays a cable from the router to a side.
    fn connect(&self, side: usize) -> Result<(), Failure> {
        let (near, pid) = (format!("near{side}"), self.sides[side].child.id().to_string());
        let own = format!("{}/24", Self::address_of(side));
        let gateway = format!("10.77.{}.1", side + 1);
        let router = |words: &[&str]| self.run(&self.router, &[&["ip"][..], words].concat());
        let inside = |words: &[&str]| self.run(&self.sides[side], &[&["ip"][..], words].concat());
        router(&["link", "add", "name", &near, "type", "veth", "peer", "name", "far", "netns", &pid])?;
        router(&["address", "add", &format!("{gateway}/24"), "dev", &near])?;
        router(&["link", "set", "dev", &near, "up"])?;
        inside(&["link", "set", "dev", "lo", "up"])?;
        inside(&["address", "add", &own, "dev", "far"])?;
        inside(&["link", "set", "dev", "far", "up"])?;
        inside(&["route", "add", "default", "via", &gateway])
    }

    /// Returns the words that run a program where a holder is.
    fn enter(&self, holder: &Holder) -> Vec<String> {
        let pid = holder.child.id().to_string();
        let user: &[&str] = if self.is_root { &[] } else { &["--user", "--preserve-credentials"] };
        [&["nsenter", "--target", &pid, "--net"][..], user].concat().into_iter().map(str::to_owned).collect()
    }

    fn command(&self, holder: &Holder, words: &[&str]) -> Command {
        let enter = self.enter(holder);
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, holder: &Holder, words: &[&str]) -> Result<(), Failure> {
        let done = self.command(holder, words).output()?;
        if done.status.success() {
            return Ok(());
        }
        Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr).trim()).into())
    }
}

impl Holder {
    /// Starts one through a program that makes the namespace, and waits until it is there; `None` if it is refused.
    fn start(through: &[&str], program: &Path) -> Result<Option<Self>, Failure> {
        let mut command = Command::new(through[0]);
        command.args(&through[1..]).arg(program).arg("hold");
        let Ok(mut child) =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
        else {
            return Ok(None);
        };
        let output = child.stdout.take().ok_or("a holder has an output")?;
        let holder = Self { child };
        let mut said = String::new();
        BufReader::new(output).read_line(&mut said)?;
        Ok((said.trim() == "held").then_some(holder))
    }
}

/// Says that the namespace is there, and waits until whoever started this is gone.
///
/// # Errors
///
/// Nobody listens.
pub fn hold() -> Result<(), Failure> {
    let mut output = std::io::stdout();
    output.write_all(b"held\n")?;
    output.flush()?;
    std::io::stdin().lines().map_while(Result::ok).for_each(drop);
    Ok(())
}

/// Notes for whoever runs all tests that one was left out, and why.
///
/// # Errors
///
/// The note cannot be written.
pub fn note_skipped(test: &str, reason: &str) -> Result<(), Failure> {
    let note = format!("{test}: {reason}\n");
    std::io::stderr().write_all(format!("SKIPPED {note}").as_bytes())?;
    if let Some(path) = std::env::var_os("PEERCHAT_SKIPPED_FILE") {
        fs::OpenOptions::new().append(true).open(path)?.write_all(note.as_bytes())?;
    }
    Ok(())
}
