//! `compression` of a frontend or a backend.
//!
//! Owns its keys; leaves which responses are compressed to `tidegate_semantics`.
//!
//! Invariant: every list is valid and not empty.

use tidegate_semantics::accept_encoding::Coding;
use tidegate_semantics::compressible::{MediaTypes, MediaTypesError};

use crate::defaults;
use crate::diagnostic::{Problem, quoted};
use crate::model::{Compression, CompressionLevels};
use crate::walk::{Key, Node, key, set, walk};

pub(crate) const COMPRESSION_KEYS: &[Key<Compression>] = &[
    key("codings", "[\"zstd\", \"br\", \"gzip\"]", |to, node| set(&mut to.codings, codings(node))),
    key("types", "[\"text/*\", \"application/json\"]", |to, node| {
        set(&mut to.types, media_types(node));
    }),
    key("min_size", "\"1KiB\"", |to, node| {
        set(&mut to.bytes_min, node.size(defaults::COMPRESSION_SIZE_RANGE).map(|size| size as u64));
    }),
    key("level", "{ gzip = 1, br = 4, zstd = 3 }", |to, node| {
        walk(node, COMPRESSION_LEVEL_KEYS, &mut to.levels);
    }),
];

pub(crate) const COMPRESSION_LEVEL_KEYS: &[Key<CompressionLevels>] = &[
    key("gzip", "1", |to, node| set(&mut to.gzip, node.integer(defaults::GZIP_LEVEL_RANGE))),
    key("br", "4", |to, node| set(&mut to.brotli, node.integer(defaults::BROTLI_LEVEL_RANGE))),
    key("zstd", "3", |to, node| set(&mut to.zstd, node.integer(defaults::ZSTD_LEVEL_RANGE))),
];

/// Reads a `compression` table.
pub(crate) fn read(node: &Node<'_>) -> Option<Compression> {
    node.table()?;
    let mut compression = Compression::default();
    walk(node, COMPRESSION_KEYS, &mut compression);
    Some(compression)
}

fn codings(node: &Node<'_>) -> Option<Vec<Coding>> {
    const CODINGS: [(&str, Coding); 3] =
        [("gzip", Coding::Gzip), ("br", Coding::Brotli), ("zstd", Coding::Zstd)];
    let elements = node.elements()?;
    let mut codings = Vec::new();
    for element in &elements {
        let coding = element.word(&CODINGS)?;
        if codings.contains(&coding) {
            let message = format!("`{}` is listed twice", coding.name());
            node.report(Problem::error(element.span, message).help("name each coding once"));
            return None;
        }
        codings.push(coding);
    }
    if codings.is_empty() {
        let message = format!("{} is empty: nothing would be compressed", quoted(&node.path()));
        node.report(Problem::error(node.span, message).help("leave `compression` out instead"));
        return None;
    }
    Some(codings)
}

fn media_types(node: &Node<'_>) -> Option<MediaTypes> {
    let elements = node.elements()?;
    let written: Vec<_> = elements.iter().map(Node::string).collect::<Option<_>>()?;
    if written.is_empty() {
        let message = format!("{} is empty: nothing would be compressed", quoted(&node.path()));
        node.report(Problem::error(node.span, message).help("leave `compression` out instead"));
        return None;
    }
    match MediaTypes::parse(written.iter().copied()) {
        Ok(types) => Some(types),
        Err(MediaTypesError::Malformed(place)) => {
            let message = format!("{} is no media type", quoted(written[place]));
            node.report(
                Problem::error(elements[place].span, message)
                    .help("write \"type/subtype\", \"type/*\", \"type/*+suffix\" or \"*/*\""),
            );
            None
        }
        Err(MediaTypesError::TooMany) => {
            let message = format!(
                "{} has more than {} entries",
                quoted(&node.path()),
                MediaTypes::PATTERNS_MAX
            );
            node.report(
                Problem::error(node.name_span, message).help("write \"text/*\" for all of a kind"),
            );
            None
        }
    }
}
