//! The program that is measured, and the videos that it gets.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use serde_json::Value;

use super::error::ServiceError;

/// Which sources the program was built from.
pub(super) fn revision() -> String {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    let said = git.output();
    said.map_or_else(|_| "unknown".into(), |out| String::from_utf8_lossy(&out.stdout).trim().into())
}

/// Media, and the program.
pub(super) struct Place {
    folder: PathBuf,
    program: PathBuf,
    /// Whether the program is that of the release build.
    pub(super) is_release: bool,
}

impl Place {
    /// Below `target/`, where media are kept from run to run.
    pub(super) fn prepare(program: Option<&Path>) -> Result<Self, ServiceError> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folder = root.join("target/service");
        std::fs::create_dir_all(&folder).map_err(|e| ServiceError::file("make", &folder, e))?;
        let release = root.join("target/release/tonemill");
        let is_release = program.is_none();
        let program = program.map_or(release, Path::to_owned);
        let program =
            program.canonicalize().map_err(|e| ServiceError::file("find", &program, e))?;
        Ok(Self { folder, program, is_release })
    }

    pub(super) fn program(&self) -> Command {
        Command::new(&self.program)
    }

    /// A video of this length, made by ffmpeg once.
    pub(super) fn video(&self, seconds: u32) -> Result<PathBuf, ServiceError> {
        let path = self.folder.join(format!("video-{seconds}s.mp4"));
        if path.exists() {
            return Ok(path);
        }
        let temporary = self.folder.join(format!("making-{seconds}s.mp4"));
        let sound = format!(
            "aevalsrc='0.3*sin(2*PI*(200+20*sin(t/3))*t)+0.05*random(0)|0.3*sin(2*PI*330*t)+0.05*random(1)':s=48000:d={seconds}"
        );
        let picture = format!("testsrc=size=320x180:rate=12:duration={seconds}");
        let status = Command::new("ffmpeg")
            .args(["-v", "quiet", "-y", "-f", "lavfi", "-i", &sound])
            .args(["-f", "lavfi", "-i", &picture, "-map", "0:a", "-map", "1:v"])
            .args(["-c:a", "aac", "-b:a", "128k", "-c:v", "mpeg4", "-b:v", "300k"])
            .arg(&temporary)
            .status()
            .map_err(|error| ServiceError::file("run", Path::new("ffmpeg"), error))?;
        if !status.success() {
            return Err(ServiceError::Program(format!("ffmpeg makes no video: {status}")));
        }
        std::fs::rename(&temporary, &path).map_err(|e| ServiceError::file("make", &path, e))?;
        Ok(path)
    }

    /// The bytes of such a video.
    pub(super) fn video_bytes(&self, seconds: u32) -> Result<Bytes, ServiceError> {
        let path = self.video(seconds)?;
        std::fs::read(&path).map(Bytes::from).map_err(|e| ServiceError::file("read", &path, e))
    }

    /// What `tonemill convert` says of a file that it has converted.
    pub(super) fn convert(&self, video: &Path) -> Result<Value, ServiceError> {
        let output = tempfile::Builder::new().prefix("tonemill-service-").suffix(".mp3").tempfile();
        let output = output.map_err(|e| ServiceError::file("make", &std::env::temp_dir(), e))?;
        let mut command = self.program();
        command.arg("convert").arg(video).arg("-o").arg(output.path()).args(["--json", "--force"]);
        let done = command.stderr(Stdio::null()).output();
        let done = done.map_err(|error| ServiceError::file("run", &self.program, error))?;
        if !done.status.success() {
            return Err(ServiceError::Program(format!("tonemill convert: {}", done.status)));
        }
        Ok(serde_json::from_slice(&done.stdout)?)
    }
}
