//! Names of files as their senders give them, some of whom mean harm: what comes back in
//! `Content-Disposition` is one line and names one file.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tonemill_testbed::s3::S3Server;

use crate::client::{Client, Reply, Request, file};
use crate::jobs::{clip, id_of};
use crate::service::Service;
use crate::uploads::at;
use crate::{seeded, size};

/// The name that a download is saved under, by those who know UTF-8 and by the others.
async fn saved_as(client: &Client, request: Request) -> (String, String) {
    let job = id_of(&request.send().await.expect(201));
    client.finished(&job).await;
    names_in(&client.output(&job).await)
}

fn names_in(reply: &Reply) -> (String, String) {
    assert_eq!(reply.headers.get_all("content-disposition").iter().count(), 1);
    let header = reply.header("content-disposition").expect("a name").to_owned();
    assert_eq!(reply.header("set-cookie"), None);
    let rest = header.strip_prefix("attachment; filename=\"").expect(&header);
    let (ascii, rest) = rest.split_once('"').expect(&header);
    let encoded = rest.strip_prefix("; filename*=UTF-8''").expect(&header);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~%".contains(&byte);
    assert!(encoded.bytes().all(is_plain), "{header}");
    let name = decoded(encoded);
    for name in [ascii, &name] {
        assert!(!name.contains(['/', '\\', '\r', '\n', '\0']), "{header}");
        assert!(name.strip_suffix(".mp3").is_some_and(|stem| !stem.is_empty()), "{header}");
        assert!(name.len() <= 255, "{} bytes are no name of a file: {header}", name.len());
    }
    (name, ascii.to_owned())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).expect("hexadecimal")
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_come_back_harmless() {
    let service = Service::embedded();
    let client = service.admin().await;
    let video = clip();
    let as_query = |name: &str| client.post(format!("/v1/jobs?file_name={name}")).body(clip());
    let as_header = |disposition: &str| {
        client.post("/v1/jobs").header("content-disposition", disposition).body(clip())
    };
    let as_form = |name: &str| client.post("/v1/jobs").form(&[file(name, &video)]);
    let long = "x".repeat(300);
    let long_umlauts = "%C3%A4".repeat(150);
    let cases: [(Request, &str); 14] = [
        (as_form("talk.mp4"), "talk.mp3"),
        (as_form("../../etc/passwd"), "passwd.mp3"),
        (as_form("C:\\Videos\\a b.mov"), "a b.mp3"),
        (as_form("Gr\u{fc}\u{df}e \u{1f3ac}.mkv"), "Gr\u{fc}\u{df}e \u{1f3ac}.mp3"),
        (as_query("a%0D%0ASet-Cookie:%20x=1.mp4"), "aSet-Cookie: x=1.mp3"),
        (as_query("..%2F..%2F.mp4"), ".mp4.mp3"),
        (as_query("%E2%80%AE4pm.exe"), "4pm.mp3"),
        (as_query(&format!("{long}.mp4")), &format!("{}.mp3", "x".repeat(251))),
        (as_query(&long_umlauts), &format!("{}.mp3", "\u{e4}".repeat(125))),
        (as_header("attachment; filename=\"x/../y.mp4\""), "y.mp3"),
        (as_header("attachment; filename*=UTF-8''%0d%0a%F0%9F%8E%AC.mp4"), "\u{1f3ac}.mp3"),
        (as_header("attachment"), "upload.mp3"),
        (as_header("attachment; filename=\"Part 1; intro.mp4\""), "Part 1; intro.mp3"),
        (as_header(r#"attachment; filename="say \"hi\".mp4""#), "say \"hi\".mp3"),
    ];
    for (request, due) in cases {
        assert_eq!(saved_as(&client, request).await.0, due);
    }
    // A line within a line is no header of a form's part.
    as_form("a\r\n Set-Cookie: x=1.mp4").send().await.problem(400);
    let (_, ascii) = saved_as(&client, as_form("Gr\u{fc}\u{df}e %41 \u{1f3ac}.mkv")).await;
    assert_eq!(ascii, "Gr__e _41 _.mp3");
}

/// Names come in three more places: the metadata of tus, the wish for an address, and JSON.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_uploads_come_back_harmless() {
    let s3 = S3Server::start_chosen();
    let service = Service::with_store(&[], &s3);
    let client = service.admin().await;
    let video = clip();
    let bad = "../..\\a\r\nSet-Cookie: x=1\u{202e}\".mp4";
    let due = "aSet-Cookie: x=1_.mp3";
    let length = video.len();

    let metadata = format!("filename {}", BASE64_STANDARD.encode(bad));
    let begin = client.post("/v1/uploads").header("upload-metadata", &metadata);
    let reply = begin.header("upload-length", &length.to_string()).send().await.expect(201);
    let path = reply.header("location").unwrap().to_owned();
    let kind = ("content-type", "application/offset+octet-stream");
    let rest = client.patch(&path).header(kind.0, kind.1).header("upload-offset", "0");
    rest.body(video.clone()).send().await.expect(204);
    let look = client.head(&path).send().await.expect(200);
    assert_eq!(look.header("upload-metadata"), Some(metadata.as_str()));
    assert_eq!(look.header("set-cookie"), None);
    let resumable = path.rsplit('/').next().unwrap().to_owned();

    let wish = json!({"bytes": length, "file_name": bad});
    let direct = client.post("/v1/uploads/direct").json(&wish).send().await.expect(201).json();
    let put = at(direct["url"].as_str().unwrap(), hyper::Method::PUT);
    put.body(video.clone()).send().await.expect(200);
    let direct = direct["upload"].as_str().unwrap();

    let named = client.upload(&video).await;
    for submission in [
        json!({"upload": resumable}),
        json!({"upload": direct}),
        json!({"upload": named, "file_name": bad}),
    ] {
        let (name, ascii) = saved_as(&client, client.post("/v1/jobs").json(&submission)).await;
        assert_eq!(name.replace('"', "_"), due, "{submission}");
        assert!(ascii.is_ascii(), "{ascii:?}");
    }
}

/// Whatever a name is made of, what comes back is one line that names one file, whose end is ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_all_kinds_come_back_harmless() {
    const PIECES: [&str; 20] = [
        "..",
        "/",
        "\\",
        "\r\n",
        "\n",
        "\"",
        ";",
        "%",
        "%0d%0a",
        "=",
        " ",
        "\u{202e}",
        "\u{1f3ac}",
        "\u{e4}",
        "CON",
        ".mp3",
        "\t",
        "filename*=UTF-8''x",
        "Set-Cookie: a=b",
        "\u{7f}",
    ];
    let (mut chance, seed) = seeded();
    let service = Service::with(&["--requests", "1000000"]);
    let client = service.admin().await;
    let count = size(500, 10);
    for _ in 0..count {
        let length = chance.usize(1..12);
        let name: String = (0..length).map(|_| PIECES[chance.usize(..PIECES.len())]).collect();
        let mut encoded = String::new();
        for byte in name.bytes() {
            let _ = write!(encoded, "%{byte:02X}");
        }
        let query = format!("file_name={encoded}&bitrate_kbps=32&quality=9");
        let request = client.post(format!("/v1/jobs?{query}"));
        let (saved, ascii) = saved_as(&client, request.body(clip())).await;
        let control = |name: &str| name.chars().any(char::is_control);
        assert!(!control(&saved) && !control(&ascii), "seed {seed}: {name:?} became {saved:?}");
    }
    println!("seed {seed}: {count} names, all harmless");
}
