-- Why a webhook is told nothing.
ALTER TABLE webhooks ADD COLUMN disabled_why VARCHAR(255);
