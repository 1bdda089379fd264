//! What the description says of every route alike: who is refused, and what else can go wrong
//! wherever there is a body, or a ledger.
//!
//! Routes describe what is theirs; a status that one describes itself is left as it is, but that
//! every refusal is a problem.

use tonemill_job::options::TAGS;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{
    Content, ContentBuilder, Object, ObjectBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder,
    Schema,
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
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(Parameter { schema: Some(RefOr::T(schema)), .. }) = parameter {
            never_null(schema);
        }
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.iter_mut().for_each(binary);
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let is_refusal = status.starts_with(['4', '5']);
        if is_refusal && response.content.is_empty() && has_body {
            *response = problem(&response.description, true);
        }
        response.content.iter_mut().for_each(binary);
    }
    // A route that says anything of security takes no token, or something else.
    let is_secured = operation.security.is_none();
    let takes_body = operation.request_body.is_some();
    let secured = OF_SECURED.iter().filter(|_| is_secured);
    let bodies = OF_BODIES.iter().filter(|_| takes_body);
    for (status, text) in secured.chain(bodies).chain(&OF_ALL) {
        let problem = problem(text, has_body);
        operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(problem));
    }
}

/// A header or a query has no `null`: what may be left away is left away.
fn never_null(schema: &mut Schema) {
    let is_null = |schema: &RefOr<Schema>| {
        matches!(schema, RefOr::T(Schema::Object(object))
            if object.schema_type == SchemaType::Type(Type::Null))
    };
    match schema {
        Schema::Object(object) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|kind| *kind != Type::Null);
                if let [only] = types.as_slice() {
                    object.schema_type = SchemaType::Type(only.clone());
                }
            }
        }
        Schema::OneOf(either) => {
            either.items.retain(|item| !is_null(item));
            if let [RefOr::T(only)] = either.items.as_slice() {
                *schema = only.clone();
            }
        }
        _ => {}
    }
}

/// Bytes are not an array of numbers, as Rust's are to utoipa.
fn binary((kind, content): (&String, &mut RefOr<Content>)) {
    let is_binary = kind.ends_with("octet-stream") || kind.starts_with("audio/");
    if let (true, RefOr::T(content)) = (is_binary, content) {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        let bytes = ObjectBuilder::new().schema_type(Type::String).format(Some(format)).build();
        content.schema = Some(RefOr::T(bytes.into()));
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
fn tags_in_query() -> impl Iterator<Item = RefOr<Parameter>> {
    TAGS.iter().map(|tag| {
        let text: Object = ObjectBuilder::new().schema_type(Type::String).build();
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
