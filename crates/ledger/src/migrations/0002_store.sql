-- The mark of the store that belongs to this ledger, see bond.rs. One row.
CREATE TABLE stores (
    one BIGINT NOT NULL PRIMARY KEY,
    mark VARCHAR(36) NOT NULL
) {TABLE};
