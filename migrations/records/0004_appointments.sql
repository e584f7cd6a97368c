-- The diary. A booking has participants (practitioner, room, patients), as FHIR's Appointment has; the database itself
-- refuses two busy bookings of one participant at one time.
CREATE TABLE session_types (
    practice_id      uuid NOT NULL REFERENCES practices,
    id               uuid NOT NULL,
    code             text NOT NULL,
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 120),
    discipline       text NOT NULL DEFAULT '',
    duration_minutes integer NOT NULL CHECK (duration_minutes BETWEEN 5 AND 480 AND duration_minutes % 5 = 0),
    price            numeric(12, 2) NOT NULL CHECK (price >= 0),
    tariff_code      text NOT NULL DEFAULT '',
    capacity         integer NOT NULL DEFAULT 1 CHECK (capacity BETWEEN 1 AND 100),
    active           boolean NOT NULL DEFAULT true,
    position         integer NOT NULL DEFAULT 0,
    PRIMARY KEY (practice_id, id),
    UNIQUE (practice_id, code)
);
SELECT make_tenant_table('session_types');
GRANT SELECT, INSERT, UPDATE ON session_types TO hadada_app;

CREATE TABLE appointments (
    practice_id     uuid NOT NULL REFERENCES practices,
    id              uuid NOT NULL,
    -- 'block' is time a practitioner is not there for patients: lunch, leave, a course.
    kind            text NOT NULL CHECK (kind IN ('visit', 'class', 'block')),
    session_type_id uuid,
    starts_at       timestamptz NOT NULL,
    ends_at         timestamptz NOT NULL,
    status          text NOT NULL CHECK (status IN ('booked', 'confirmed', 'arrived', 'in-session', 'completed', 'cancelled', 'no-show')),
    reason          text NOT NULL DEFAULT '' CHECK (length(reason) <= 200),
    payer_tag       text NOT NULL DEFAULT '',
    -- The state before the last change and when that was, so that a slip can be undone.
    previous_status text,
    status_at       timestamptz,
    arrived_at      timestamptz,
    cancel_reason   text NOT NULL DEFAULT '' CHECK (length(cancel_reason) <= 200),
    version         integer NOT NULL DEFAULT 1,
    created_by      uuid NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_by      uuid NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (practice_id, id),
    CHECK (starts_at < ends_at),
    CHECK (ends_at - starts_at <= interval '12 hours'),
    CHECK ((kind = 'block') = (session_type_id IS NULL)),
    FOREIGN KEY (practice_id, session_type_id) REFERENCES session_types (practice_id, id),
    FOREIGN KEY (practice_id, created_by) REFERENCES users (practice_id, id),
    FOREIGN KEY (practice_id, updated_by) REFERENCES users (practice_id, id)
);
CREATE INDEX appointments_day ON appointments (practice_id, starts_at);
SELECT make_tenant_table('appointments');
GRANT SELECT, INSERT, UPDATE ON appointments TO hadada_app;

CREATE TABLE appointment_participants (
    practice_id     uuid NOT NULL,
    id              uuid NOT NULL,
    appointment_id  uuid NOT NULL,
    practitioner_id uuid,
    room_id         uuid,
    patient_id      uuid,
    -- Copies of the booking's time and of whether it takes up time, kept by a trigger; the constraints need them here.
    during          tstzrange NOT NULL,
    busy            boolean NOT NULL DEFAULT true,
    attended        boolean,
    PRIMARY KEY (practice_id, id),
    CHECK (num_nonnulls(practitioner_id, room_id, patient_id) = 1),
    FOREIGN KEY (practice_id, appointment_id) REFERENCES appointments (practice_id, id),
    FOREIGN KEY (practice_id, practitioner_id) REFERENCES practitioners (practice_id, id),
    FOREIGN KEY (practice_id, room_id) REFERENCES rooms (practice_id, id),
    FOREIGN KEY (practice_id, patient_id) REFERENCES patients (practice_id, id),
    CONSTRAINT practitioner_free EXCLUDE USING gist (practice_id WITH =, practitioner_id WITH =, during WITH &&) WHERE (busy AND practitioner_id IS NOT NULL),
    CONSTRAINT room_free EXCLUDE USING gist (practice_id WITH =, room_id WITH =, during WITH &&) WHERE (busy AND room_id IS NOT NULL),
    CONSTRAINT patient_free EXCLUDE USING gist (practice_id WITH =, patient_id WITH =, during WITH &&) WHERE (busy AND patient_id IS NOT NULL)
);
CREATE UNIQUE INDEX appointment_participants_patient_once ON appointment_participants (practice_id, appointment_id, patient_id) WHERE patient_id IS NOT NULL;
CREATE UNIQUE INDEX appointment_participants_one_practitioner ON appointment_participants (practice_id, appointment_id) WHERE practitioner_id IS NOT NULL;
CREATE UNIQUE INDEX appointment_participants_one_room ON appointment_participants (practice_id, appointment_id) WHERE room_id IS NOT NULL;
CREATE INDEX appointment_participants_by_patient ON appointment_participants (practice_id, patient_id) WHERE patient_id IS NOT NULL;
SELECT make_tenant_table('appointment_participants');
GRANT SELECT, INSERT, UPDATE, DELETE ON appointment_participants TO hadada_app;

CREATE FUNCTION participant_takes_booking_time() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    SELECT tstzrange(a.starts_at, a.ends_at), a.status NOT IN ('cancelled', 'no-show')
    INTO STRICT NEW.during, NEW.busy
    FROM appointments a WHERE a.practice_id = NEW.practice_id AND a.id = NEW.appointment_id;
    RETURN NEW;
END
$$;
CREATE TRIGGER participant_time BEFORE INSERT OR UPDATE ON appointment_participants
    FOR EACH ROW EXECUTE FUNCTION participant_takes_booking_time();

CREATE FUNCTION booking_moves_participants() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE appointment_participants SET busy = busy
    WHERE practice_id = NEW.practice_id AND appointment_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER booking_time AFTER UPDATE OF starts_at, ends_at, status ON appointments
    FOR EACH ROW EXECUTE FUNCTION booking_moves_participants();

-- A class has a number of places; checked under a lock on the booking, so that two last places can't both be taken.
CREATE FUNCTION class_has_places() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE places integer; taken integer;
BEGIN
    IF NEW.patient_id IS NULL THEN RETURN NULL; END IF;
    SELECT s.capacity INTO places FROM appointments a JOIN session_types s ON s.practice_id = a.practice_id AND s.id = a.session_type_id
    WHERE a.practice_id = NEW.practice_id AND a.id = NEW.appointment_id FOR UPDATE OF a;
    SELECT count(*) INTO taken FROM appointment_participants
    WHERE practice_id = NEW.practice_id AND appointment_id = NEW.appointment_id AND patient_id IS NOT NULL;
    IF taken > coalesce(places, 0) THEN
        RAISE EXCEPTION 'all % places are taken', coalesce(places, 0) USING ERRCODE = 'check_violation', CONSTRAINT = 'class_full';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER class_places AFTER INSERT ON appointment_participants
    FOR EACH ROW EXECUTE FUNCTION class_has_places();

CREATE TABLE waiting_list (
    practice_id      uuid NOT NULL,
    id               uuid NOT NULL,
    patient_id       uuid NOT NULL,
    reason           text NOT NULL DEFAULT '' CHECK (length(reason) <= 200),
    duration_minutes integer NOT NULL CHECK (duration_minutes BETWEEN 5 AND 480),
    practitioner_id  uuid,
    session_type_id  uuid,
    discipline       text NOT NULL DEFAULT '',
    not_before       time,
    not_after        time,
    weekdays         smallint[] NOT NULL DEFAULT '{}',
    priority         smallint NOT NULL DEFAULT 2 CHECK (priority BETWEEN 1 AND 3),
    status           text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'booked', 'removed')),
    appointment_id   uuid,
    version          integer NOT NULL DEFAULT 1,
    created_by       uuid NOT NULL,
    created_at       timestamptz NOT NULL,
    PRIMARY KEY (practice_id, id),
    FOREIGN KEY (practice_id, patient_id) REFERENCES patients (practice_id, id),
    FOREIGN KEY (practice_id, practitioner_id) REFERENCES practitioners (practice_id, id),
    FOREIGN KEY (practice_id, session_type_id) REFERENCES session_types (practice_id, id),
    FOREIGN KEY (practice_id, appointment_id) REFERENCES appointments (practice_id, id),
    FOREIGN KEY (practice_id, created_by) REFERENCES users (practice_id, id)
);
CREATE INDEX waiting_list_waiting ON waiting_list (practice_id, priority, created_at) WHERE status = 'waiting';
SELECT make_tenant_table('waiting_list');
GRANT SELECT, INSERT, UPDATE ON waiting_list TO hadada_app;
