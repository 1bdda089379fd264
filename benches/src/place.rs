//! The program that is measured, and the videos that it gets.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use serde_json::Value;

use crate::error::{BenchError, file};
use crate::machine::Machine;

/// Media, and the program.
pub(crate) struct Place {
    folder: PathBuf,
    program: PathBuf,
    /// Whether the program is that of the release build.
    pub(crate) is_release: bool,
}

impl Place {
    /// Below `target/`, where media are kept from run to run. The program is that of the release
    /// build if none is named.
    pub(crate) fn prepare(name: &str, program: Option<&Path>) -> Result<Self, BenchError> {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let folder = target.join(name);
        std::fs::create_dir_all(&folder).map_err(file("make", &folder))?;
        let is_release = program.is_none();
        let program = program.map_or(target.join("release/tonemill"), Path::to_owned);
        let program = program.canonicalize().map_err(file("find", &program))?;
        Ok(Self { folder, program, is_release })
    }

    pub(crate) fn program(&self) -> Command {
        Command::new(&self.program)
    }

    /// The first lines of a report: the machine, and which sources the program was built from.
    pub(crate) fn header(&self, title: &str) -> Result<String, BenchError> {
        let machine = Machine::read()?;
        let gib = machine.memory_bytes >> 30;
        let Machine { cpu, cores, system, kernel, .. } = machine;
        let revision = revision();
        let build = if self.is_release { "" } else { ", **not the release build**" };
        Ok(format!(
            "# {title}\n\n{cpu}, {cores} cores, {gib} GiB; {system}, Linux {kernel}\n\n\
             tonemill at {revision}{build}"
        ))
    }

    /// A video of this length.
    pub(crate) fn video(&self, seconds: u32) -> Result<PathBuf, BenchError> {
        self.video_with(&format!("video-{seconds}s.mp4"), seconds, &[])
    }

    /// The bytes of such a video.
    pub(crate) fn video_bytes(&self, seconds: u32) -> Result<Bytes, BenchError> {
        read(&self.video(seconds)?)
    }

    /// A file of `seconds` of sound with a picture, made by ffmpeg with `options`, once.
    pub(crate) fn video_with(
        &self,
        name: &str,
        seconds: u32,
        options: &[&str],
    ) -> Result<PathBuf, BenchError> {
        let path = self.folder.join(name);
        if path.exists() {
            return Ok(path);
        }
        let temporary = self.folder.join(format!("making-{name}"));
        let sound = format!(
            "aevalsrc='0.3*sin(2*PI*(200+20*sin(t/3))*t)+0.05*random(0)|0.3*sin(2*PI*330*t)+0.05*random(1)':s=48000:d={seconds}"
        );
        let picture = format!("testsrc=size=320x180:rate=12:duration={seconds}");
        let status = Command::new("ffmpeg")
            .args(["-v", "quiet", "-y", "-f", "lavfi", "-i", &sound])
            .args(["-f", "lavfi", "-i", &picture, "-map", "0:a", "-map", "1:v"])
            .args(["-c:a", "aac", "-b:a", "128k", "-c:v", "mpeg4", "-b:v", "300k"])
            .args(options)
            .arg(&temporary)
            .status()
            .map_err(file("run", Path::new("ffmpeg")))?;
        if !status.success() {
            return Err(BenchError::work(format!("ffmpeg cannot make {name}: {status}")));
        }
        std::fs::rename(&temporary, &path).map_err(file("make", &path))?;
        Ok(path)
    }

    /// What `tonemill convert` says of a file that it has converted.
    pub(crate) fn convert(&self, video: &Path) -> Result<Value, BenchError> {
        let output = tempfile::Builder::new().prefix("tonemill-bench-").suffix(".mp3").tempfile();
        let output = output.map_err(file("make", &std::env::temp_dir()))?;
        let mut command = self.program();
        command.arg("convert").arg(video).arg("-o").arg(output.path()).args(["--json", "--force"]);
        let done = command.stderr(Stdio::null()).output();
        let done = done.map_err(file("run", &self.program))?;
        if !done.status.success() {
            return Err(BenchError::work(format!("tonemill convert: {}", done.status)));
        }
        Ok(serde_json::from_slice(&done.stdout)?)
    }
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Bytes, BenchError> {
    std::fs::read(path).map(Bytes::from).map_err(file("read", path))
}

fn revision() -> String {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    let said = git.output();
    said.map_or_else(|_| "unknown".into(), |out| String::from_utf8_lossy(&out.stdout).trim().into())
}
