//! A request on its way to the routes: whose it is and how slow its body may be.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::activity::Activity;
use super::address::ClientAddress;
use super::request_body::{BodyRate, TimedBody};
use super::response_body::ResponseBody;

/// The routes, for one connection.
pub(super) struct Requests {
    pub(super) routes: TowerToHyperService<Router>,
    pub(super) activity: Arc<Activity>,
    pub(super) peer: IpAddr,
    pub(super) trusted_proxies: usize,
    pub(super) body_rate: BodyRate,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let version = request.version();
        let running = self.activity.begin(version);
        let address = ClientAddress::find(self.peer, request.headers(), self.trusted_proxies);
        let mut request = request.map(|body| {
            Body::new(TimedBody::new(body, self.body_rate, Arc::clone(&self.activity)))
        });
        request.extensions_mut().insert(address);
        let answer = self.routes.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            if running.activity().was_body_too_slow() && version < Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            let until_sent = answer.extensions_mut().remove();
            Ok(answer.map(|body| ResponseBody::new(body, running, until_sent)))
        })
    }
}
