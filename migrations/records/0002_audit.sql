-- The audit log: append-only events, sealed in Merkle batches (format: appliance/audit-log).
CREATE TABLE audit_events (
    practice_id uuid NOT NULL,
    id          uuid NOT NULL,
    at          timestamptz NOT NULL,
    actor       text NOT NULL,
    action      text NOT NULL,
    entity      text NOT NULL,
    entity_id   uuid,
    patient_id  uuid,
    reason      text NOT NULL DEFAULT '',
    shown       uuid[] NOT NULL DEFAULT '{}',
    change      bytea,
    PRIMARY KEY (practice_id, id)
);
CREATE INDEX audit_events_patient ON audit_events (practice_id, patient_id, at DESC) WHERE patient_id IS NOT NULL;
CREATE INDEX audit_events_shown ON audit_events USING gin (shown) WHERE shown <> '{}';
CREATE INDEX audit_events_at ON audit_events (practice_id, at DESC);
SELECT make_tenant_table('audit_events');
GRANT SELECT, INSERT ON audit_events TO hadada_app;

-- Events no seal covers yet. A queue and not "id above the last sealed one", because commits can come late.
CREATE TABLE audit_pending (
    event_id    uuid PRIMARY KEY,
    practice_id uuid NOT NULL
);
GRANT INSERT ON audit_pending TO hadada_app;

CREATE TABLE audit_seals (
    seq       bigint PRIMARY KEY,
    count     integer NOT NULL CHECK (count > 0),
    total     bigint NOT NULL,
    root      bytea NOT NULL CHECK (length(root) = 32),
    previous  bytea NOT NULL CHECK (length(previous) = 32),
    sealed_at timestamptz NOT NULL,
    signature bytea NOT NULL CHECK (length(signature) = 64)
);
GRANT SELECT ON audit_seals TO hadada_app;

CREATE TABLE audit_leaves (
    seal_seq    bigint NOT NULL REFERENCES audit_seals,
    position    integer NOT NULL,
    event_id    uuid NOT NULL UNIQUE,
    practice_id uuid NOT NULL,
    leaf_hash   bytea NOT NULL CHECK (length(leaf_hash) = 32),
    PRIMARY KEY (seal_seq, position)
);
GRANT SELECT ON audit_leaves TO hadada_app;

-- Opens the scope of a transaction and, when an action is given, records its event in the same round trip.
CREATE FUNCTION open_scope(p_practice uuid, p_user text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT set_config('hadada.practice_id', p_practice::text, true), set_config('hadada.actor', p_user, true);
$$;
GRANT EXECUTE ON FUNCTION open_scope(uuid, text) TO hadada_app;

CREATE FUNCTION audit_append(
    p_id uuid, p_at timestamptz, p_action text, p_entity text, p_entity_id uuid, p_patient uuid,
    p_reason text, p_shown uuid[], p_change bytea
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO audit_events (practice_id, id, at, actor, action, entity, entity_id, patient_id, reason, shown, change)
    VALUES (current_practice(), p_id, p_at, current_setting('hadada.actor'), p_action, p_entity, p_entity_id, p_patient,
            p_reason, p_shown, p_change);
    INSERT INTO audit_pending (event_id, practice_id) VALUES (p_id, current_practice());
END
$$;
GRANT EXECUTE ON FUNCTION audit_append(uuid, timestamptz, text, text, uuid, uuid, text, uuid[], bytea) TO hadada_app;

CREATE FUNCTION open_scope_with_event(
    p_practice uuid, p_user text,
    p_id uuid, p_at timestamptz, p_action text, p_entity text, p_entity_id uuid, p_patient uuid,
    p_reason text, p_shown uuid[], p_change bytea
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM set_config('hadada.practice_id', p_practice::text, true), set_config('hadada.actor', p_user, true);
    PERFORM audit_append(p_id, p_at, p_action, p_entity, p_entity_id, p_patient, p_reason, p_shown, p_change);
END
$$;
GRANT EXECUTE ON FUNCTION open_scope_with_event(uuid, text, uuid, timestamptz, text, text, uuid, uuid, text, uuid[], bytea) TO hadada_app;

-- Sealing spans practices, so it goes through these three functions of the owner; the app role can't read across.
CREATE FUNCTION audit_unsealed(p_limit integer) RETURNS SETOF audit_events
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT e.* FROM audit_pending p JOIN audit_events e ON e.practice_id = p.practice_id AND e.id = p.event_id
    ORDER BY e.at, e.id LIMIT p_limit;
$$;
GRANT EXECUTE ON FUNCTION audit_unsealed(integer) TO hadada_app;

CREATE FUNCTION audit_store_seal(
    p_seq bigint, p_total bigint, p_root bytea, p_previous bytea, p_sealed_at timestamptz, p_signature bytea,
    p_events uuid[], p_practices uuid[], p_leaves bytea[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE removed integer;
BEGIN
    INSERT INTO audit_seals (seq, count, total, root, previous, sealed_at, signature)
    VALUES (p_seq, cardinality(p_events), p_total, p_root, p_previous, p_sealed_at, p_signature);
    INSERT INTO audit_leaves (seal_seq, position, event_id, practice_id, leaf_hash)
    SELECT p_seq, t.ord - 1, t.event_id, t.practice_id, t.leaf
    FROM unnest(p_events, p_practices, p_leaves) WITH ORDINALITY AS t(event_id, practice_id, leaf, ord);
    DELETE FROM audit_pending WHERE event_id = ANY (p_events);
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed <> cardinality(p_events) THEN
        RAISE EXCEPTION 'seal % covers % events of which % were waiting', p_seq, cardinality(p_events), removed;
    END IF;
END
$$;
GRANT EXECUTE ON FUNCTION audit_store_seal(bigint, bigint, bytea, bytea, timestamptz, bytea, uuid[], uuid[], bytea[]) TO hadada_app;

-- For `hadadactl audit export` over the root-only admin socket: every sealed event of one seal, in leaf order.
CREATE FUNCTION audit_sealed(p_seq bigint)
RETURNS TABLE (leaf_position integer, leaf_hash bytea, leaf_event_id uuid, event audit_events)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT l.position, l.leaf_hash, l.event_id, e
    FROM audit_leaves l LEFT JOIN audit_events e ON e.practice_id = l.practice_id AND e.id = l.event_id
    WHERE l.seal_seq = p_seq ORDER BY l.position;
$$;
GRANT EXECUTE ON FUNCTION audit_sealed(bigint) TO hadada_app;

-- How many events wait for their seal, of every practice, and since when.
CREATE FUNCTION audit_waiting() RETURNS TABLE (events bigint, oldest timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*), min(e.at) FROM audit_pending p JOIN audit_events e ON e.practice_id = p.practice_id AND e.id = p.event_id;
$$;
GRANT EXECUTE ON FUNCTION audit_waiting() TO hadada_app;

-- The practice's events, newest first, before a place in the list; of one patient where asked. A function, because @> is not
-- leakproof and would not use its index under the policy.
CREATE FUNCTION audit_find(
    p_patient uuid, p_actor text, p_from timestamptz, p_until timestamptz, p_before timestamptz, p_before_id uuid, p_limit integer
) RETURNS SETOF audit_events
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50 SET search_path = public, pg_temp AS $$
DECLARE
    scope uuid := current_practice();
    first timestamptz := coalesce(p_from, '-infinity');
    last timestamptz := least(coalesce(p_until, 'infinity'), coalesce(p_before, 'infinity'));
BEGIN
    IF p_patient IS NULL THEN
        RETURN QUERY
            SELECT e.* FROM audit_events e
            WHERE e.practice_id = scope AND e.at >= first AND e.at <= last AND (p_actor IS NULL OR e.actor = p_actor)
              AND (p_until IS NULL OR e.at < p_until) AND (p_before IS NULL OR (e.at, e.id) < (p_before, p_before_id))
            ORDER BY e.at DESC, e.id DESC LIMIT p_limit;
        RETURN;
    END IF;
    RETURN QUERY
        SELECT m.* FROM (
            (SELECT e.* FROM audit_events e
             WHERE e.practice_id = scope AND e.patient_id = p_patient AND e.at >= first AND e.at <= last
               AND (p_actor IS NULL OR e.actor = p_actor) AND (p_until IS NULL OR e.at < p_until)
               AND (p_before IS NULL OR (e.at, e.id) < (p_before, p_before_id))
             ORDER BY e.at DESC, e.id DESC LIMIT p_limit)
            UNION ALL
            (SELECT e.* FROM audit_events e
             WHERE e.practice_id = scope AND e.shown <> '{}' AND e.shown @> ARRAY[p_patient] AND e.patient_id IS DISTINCT FROM p_patient
               AND e.at >= first AND e.at <= last AND (p_actor IS NULL OR e.actor = p_actor) AND (p_until IS NULL OR e.at < p_until)
               AND (p_before IS NULL OR (e.at, e.id) < (p_before, p_before_id))
             ORDER BY e.at DESC, e.id DESC LIMIT p_limit)
        ) m ORDER BY m.at DESC, m.id DESC LIMIT p_limit;
END
$$;
GRANT EXECUTE ON FUNCTION audit_find(uuid, text, timestamptz, timestamptz, timestamptz, uuid, integer) TO hadada_app;
