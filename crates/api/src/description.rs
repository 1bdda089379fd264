//! What the description says of every route alike: who is refused, and what else can go wrong
//! wherever there is a body, or a ledger.
//!
//! Routes describe what is theirs; a status that one describes itself is left as it is.

use tonemill_job::options::{MAX_TAG_BYTES, TAGS};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{
    ContentBuilder, Object, ObjectBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder,
};

/// Refusals of whoever does not show who it is, may not do it, or does it too often.
const OF_SECURED: [(u16, &str); 3] = [
    (401, "No access token or API key, or one that is not good"),
    (403, "You may not do this, or this API key may not"),
    (429, "You ask too often"),
];
/// Refusals of a body.
const OF_BODIES: [(u16, &str); 5] = [
    (400, "The request makes no sense"),
    (408, "The body came too slowly"),
    (413, "The body is too large"),
    (415, "A body of a kind that is not taken here"),
    (422, "A value is not valid"),
];
/// Faults of ours.
const OF_ALL: [(u16, &str); 2] =
    [(500, "A defect of the service"), (503, "A part of the service is away: try again")];

/// Adds to each route what holds for all of its kind.
pub(crate) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (&mut item.get, true),
            (&mut item.put, true),
            (&mut item.post, true),
            (&mut item.patch, true),
            (&mut item.delete, true),
            (&mut item.head, false),
        ];
        for (operation, has_body) in operations {
            if let Some(operation) = operation {
                complete_operation(operation, has_body);
            }
        }
        if let ("/v1/jobs", Some(create)) = (path.as_str(), &mut item.post) {
            create.parameters.get_or_insert_default().extend(tags_in_query());
        }
    }
}

fn complete_operation(operation: &mut Operation, has_body: bool) {
    // Whatever is said about security here is that there need be none, or another.
    let is_secured = operation.security.is_none();
    let takes_body = operation.request_body.is_some();
    let secured = OF_SECURED.iter().filter(|_| is_secured);
    let bodies = OF_BODIES.iter().filter(|_| takes_body);
    for (status, text) in secured.chain(bodies).chain(&OF_ALL) {
        let problem = problem(text, has_body);
        operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(problem));
    }
}

fn problem(text: &str, has_body: bool) -> utoipa::openapi::Response {
    let response = ResponseBuilder::new().description(text);
    if !has_body {
        return response.build();
    }
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    response.content("application/problem+json", content).build()
}

/// `tag.title=…`, as forms and queries have it.
fn tags_in_query() -> impl Iterator<Item = RefOr<utoipa::openapi::path::Parameter>> {
    TAGS.iter().map(|tag| {
        let text: Object =
            ObjectBuilder::new().schema_type(Type::String).max_length(Some(MAX_TAG_BYTES)).build();
        let parameter = ParameterBuilder::new()
            .name(format!("tag.{tag}"))
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some("Replaces the input's; an empty text removes it"))
            .schema(Some(text));
        RefOr::T(parameter.build())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::routes::document;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_its_refusals() {
        let document = serde_json::to_value(document()).unwrap();
        let mut names = HashSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap().to_owned();
                assert!(names.insert(name.clone()), "{method} {path}: {name} comes twice");
                let is_secured = operation.get("security").is_none();
                assert_eq!(is_secured, operation["responses"].get("403").is_some(), "{path}");
                assert!(operation["responses"].get("500").is_some(), "{path}");
            }
        }
        assert!(names.len() > 30);
    }
}
