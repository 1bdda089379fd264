//! What is asked of a job, by the API's names.

use serde_json::{Value, json};
use tonemill_job::{JobId, Lane};

use crate::args::client::UploadArgs;
use crate::failure::Failure;

/// Options, lane, label and webhook of all jobs of a command.
pub struct Order(Value);

impl Order {
    /// What was said; refused here if the service would refuse it after the upload.
    pub fn new(args: &UploadArgs) -> Result<Self, Failure> {
        let options = args.conversion.job_options();
        options.validate().map_err(|error| Failure::usage(error.to_string(), ""))?;
        let lane: Lane = args.lane.into();
        let order = serde_json::to_value(&options).map(|mut order| {
            order["lane"] = json!(lane);
            order["label"] = json!(args.label);
            if let Some(webhook) = &args.webhook {
                order["webhook"] = json!(webhook);
            }
            order
        });
        Ok(Self(order.map_err(|error| Failure::fault(error.to_string(), "report this defect"))?))
    }

    /// Tells one order from another.
    pub fn hash(&self) -> String {
        blake3::hash(self.0.to_string().as_bytes()).to_hex()[..32].to_owned()
    }

    /// The request for the job of an upload.
    pub fn request(&self, upload: JobId, file_name: &str) -> Value {
        let mut request = self.0.clone();
        request["upload"] = json!(upload);
        request["file_name"] = json!(file_name);
        request
    }
}
