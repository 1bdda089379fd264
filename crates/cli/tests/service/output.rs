//! The MP3 as browsers, players and curl fetch it: whole, in ranges, on conditions, from the store.

use std::process::Command;

use tonemill_testbed::s3::S3Server;

use crate::client::{Client, Reply};
use crate::jobs::{assert_same, clip};
use crate::service::Service;
use crate::uploads::at;

/// A finished job, and its whole MP3 as it comes without conditions.
struct Finished {
    service: Service,
    client: Client,
    path: String,
    whole: Reply,
}

impl Finished {
    async fn new() -> Self {
        let service = Service::embedded();
        let client = service.admin().await;
        let job = client.submit(&clip(), "file_name=talk.mp4").await;
        client.finished(&job).await;
        let whole = client.output(&job).await;
        Self { service, client, path: format!("/v1/jobs/{job}/output"), whole }
    }

    async fn get(&self, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.client.get(&self.path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await
    }

    fn validators(&self) -> (&str, &str) {
        (self.whole.header("etag").unwrap(), self.whole.header("last-modified").unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_parts_of_the_whole() {
    let finished = Finished::new().await;
    let whole = &finished.whole.body;
    let total = whole.len();
    assert_eq!(finished.whole.number("content-length") as usize, total);
    assert_eq!(finished.whole.header("accept-ranges"), Some("bytes"));
    let last = total - 1;
    for (range, first, end) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=10-1999".to_owned(), 10, 2000),
        ("bytes=1000-".to_owned(), 1000, total),
        ("bytes=-100".to_owned(), total - 100, total),
        (format!("bytes=-{}", total + 5), 0, total),
        (format!("bytes={last}-{}", last + 1000), last, total),
    ] {
        let part = finished.get(&[("range", &range)]).await.expect(206);
        assert_same(&part.body, &whole[first..end]);
        let due = format!("bytes {first}-{}/{total}", end - 1);
        assert_eq!(part.header("content-range"), Some(due.as_str()));
        assert_eq!(part.header("etag"), finished.whole.header("etag"));
    }
    let huge = "bytes=99999999999999999999-".to_owned();
    for range in [format!("bytes={total}-"), "bytes=-0".to_owned(), huge] {
        let refused = finished.get(&[("range", &range)]).await;
        refused.problem(416);
        assert_eq!(refused.header("content-range"), Some(format!("bytes */{total}").as_str()));
    }
    for ignored in
        ["bytes=0-1,5-6", "lines=0-1", "bytes=5-4", "bytes=x", "bytes=+0-1", "bytes=0-+5"]
    {
        assert_same(&finished.get(&[("range", ignored)]).await.expect(200).body, whole);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_hold_or_do_not() {
    let finished = Finished::new().await;
    let (tag, date) = finished.validators();
    let long_ago = "Sun, 06 Nov 1994 08:49:37 GMT";
    let (not_modified, failed, whole, part) = (304, 412, 200, 206);
    let range = ("range", "bytes=0-9");
    let weak = format!("W/{tag}");
    let several = format!("\"x\", {tag}");
    let bare = tag.trim_matches('"');
    let later = "Sun, 06 Nov 2094 08:49:37 GMT";
    let cases: [(&[(&str, &str)], u16); 24] = [
        (&[("if-none-match", tag)], not_modified),
        (&[("if-none-match", &weak)], not_modified),
        (&[("if-none-match", &several)], not_modified),
        (&[("if-none-match", "*")], not_modified),
        (&[("if-none-match", "\"x\"")], whole),
        (&[("if-none-match", "\"x\""), ("if-modified-since", date)], whole),
        (&[("if-modified-since", date)], not_modified),
        (&[("if-modified-since", long_ago)], whole),
        (&[("if-match", tag)], whole),
        (&[("if-match", "*")], whole),
        (&[("if-match", "\"x\"")], failed),
        (&[("if-match", &weak)], failed),
        (&[("if-unmodified-since", long_ago)], failed),
        (&[range, ("if-range", tag)], part),
        (&[range, ("if-range", "\"x\"")], whole),
        (&[range, ("if-range", date)], part),
        (&[range, ("if-range", long_ago)], whole),
        (&[range, ("if-range", later)], whole),
        (&[range, ("if-range", &weak)], whole),
        (&[range, ("if-range", bare)], whole),
        (&[range, ("if-range", "")], whole),
        (&[range, ("if-range", "*")], whole),
        (&[range, ("if-range", tag), ("if-range", "\"x\"")], whole),
        (&[range, ("if-none-match", tag)], not_modified),
    ];
    for (headers, due) in cases {
        let reply = finished.get(headers).await;
        assert_eq!(reply.status, due, "{headers:?}: {reply:?}");
        match due {
            200 => assert_same(&reply.body, &finished.whole.body),
            206 => assert_same(&reply.body, &finished.whole.body[..10]),
            304 => {
                assert!(reply.body.is_empty());
                assert_eq!(reply.header("etag"), Some(tag));
                assert_eq!(reply.header("content-length"), None, "the file is not empty");
                assert_eq!(reply.header("transfer-encoding"), None);
            }
            _ => assert!(reply.problem(412).is_none()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_is_an_answer_without_its_body() {
    let finished = Finished::new().await;
    let head = finished.client.head(&finished.path).send().await.expect(200);
    assert!(head.body.is_empty());
    let names = ["content-length", "content-type", "etag", "last-modified", "content-disposition"];
    for name in names {
        assert_eq!(head.header(name), finished.whole.header(name), "{name}");
    }
    // Ranges are for GET (RFC 9110 section 14.2).
    let part = finished.client.head(&finished.path).header("range", "bytes=0-9").send().await;
    let whole = finished.whole.number("content-length");
    assert_eq!(part.expect(200).number("content-length"), whole);
    let (tag, _) = finished.validators();
    let known = finished.client.head(&finished.path).header("if-none-match", tag).send().await;
    assert_eq!(known.expect(304).header("content-length"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_are_told_to_take_it_for_nothing_else() {
    let finished = Finished::new().await;
    let nobody = finished.service.nobody();
    let pages = [
        finished.get(&[]).await.expect(200),
        finished.get(&[("range", "bytes=0-9")]).await.expect(206),
        nobody.get(&finished.path).send().await.expect(401),
        nobody.get("/nothing").send().await.expect(404),
        nobody.get("/v1/jobs").send().await.expect(401),
    ];
    for reply in pages {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
        assert!(reply.header("x-request-id").is_some_and(|id| !id.is_empty()));
    }
    let whole = &finished.whole;
    assert_eq!(whole.header("content-type"), Some("audio/mpeg"));
    assert_eq!(whole.header("cache-control"), Some("private, no-cache"));
    let saved = whole.header("content-disposition").unwrap();
    assert_eq!(saved, "attachment; filename=\"talk.mp3\"; filename*=UTF-8''talk.mp3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_goes_on_where_it_stopped() {
    let finished = Finished::new().await;
    let file = finished.service.scratch("half.mp3");
    std::fs::write(&file, &finished.whole.body[..5000]).unwrap();
    let token = finished.client.token.as_deref().unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "-C", "-", "-H", &format!("Authorization: Bearer {token}"), "-o"]);
    let url = format!("http://{}{}", finished.service.address, finished.path);
    let output = curl.arg(&file).arg(url).output().expect("curl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_same(&std::fs::read(&file).unwrap(), &finished.whole.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_are_sent_to_the_store() {
    let s3 = S3Server::start_chosen();
    let service = Service::with_store(&["--presign", "60"], &s3);
    let client = service.admin().await;
    let video = clip();
    let job = client.submit(&video, "file_name=talk.mp4").await;
    client.finished(&job).await;
    let reply = client.get(format!("/v1/jobs/{job}/output")).send().await.expect(307);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let head = client.head(format!("/v1/jobs/{job}/output")).send().await.expect(200);
    assert_eq!(head.header("location"), None, "the address is good for GET alone");
    let url = reply.header("location").unwrap();
    let mp3 = at(url, hyper::Method::GET).send().await.expect(200);
    assert_same(&mp3.body, &crate::jobs::convert(&video, &[]));
    let part = at(url, hyper::Method::GET).header("range", "bytes=5-9").send().await.expect(206);
    assert_same(&part.body, &mp3.body[5..10]);
    let eve = service.user("eve").await;
    eve.get(format!("/v1/jobs/{job}/output")).send().await.problem(404);
}
