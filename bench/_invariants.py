"""What must be true of every diary at every moment, each as raw SQL that finds the rows which break it. Nothing here
trusts a constraint or a model."""

from django.db import connection

LIVE = "('held', 'booked', 'confirmed', 'arrived', 'fulfilled')"

BROKEN_BY = {
    "two live reservations of one resource overlap": """
        SELECT a.id FROM scheduling_reservation a JOIN scheduling_reservation b
            ON a.resource_id = b.resource_id AND a.id < b.id AND a.during && b.during
         WHERE a.live AND b.live""",
    "a visit that is over keeps a reservation": f"""
        SELECT r.id FROM scheduling_reservation r
          JOIN scheduling_appointmentstep s ON s.id = r.step_id JOIN scheduling_appointment a ON a.id = s.appointment_id
         WHERE r.live AND a.status NOT IN {LIVE}""",
    "a step of a live visit lacks, or has too much of, what its protocol asks for": f"""
        SELECT s.id FROM scheduling_appointmentstep s
          JOIN scheduling_appointment a ON a.id = s.appointment_id AND a.status IN {LIVE}
         CROSS JOIN LATERAL (
               SELECT jsonb_object_agg(kind, total) AS asked
                 FROM (SELECT kind, sum(count) AS total FROM scheduling_stepneed
                        WHERE step_id = s.protocol_step_id GROUP BY kind
                        UNION ALL SELECT 'patient', 1) needs) n
         CROSS JOIN LATERAL (
               SELECT jsonb_object_agg(kind, total) AS had
                 FROM (SELECT u.kind, count(*) AS total FROM scheduling_reservation r
                         JOIN scheduling_resource u ON u.id = r.resource_id
                        WHERE r.step_id = s.id AND r.live AND r.kind = 'step' GROUP BY u.kind) taken) t
         WHERE n.asked IS DISTINCT FROM t.had""",
    "a live visit lacks a step, or holds a time that is not its steps'": f"""
        SELECT a.id FROM scheduling_appointment a
          JOIN scheduling_episode e ON e.id = a.episode_id
          LEFT JOIN scheduling_appointmentstep s ON s.appointment_id = a.id
         WHERE a.status IN {LIVE}
         GROUP BY a.id, a.visit, a.during, e.protocol_id
        HAVING a.during IS DISTINCT FROM tstzrange(min(lower(s.during)), max(upper(s.during)))
            OR count(s.id) <> (SELECT count(*) FROM scheduling_protocolstep p
                                WHERE p.protocol_id = e.protocol_id AND p.visit = a.visit)""",
    "a reservation is not at the time of its step": """
        SELECT r.id FROM scheduling_reservation r JOIN scheduling_appointmentstep s ON s.id = r.step_id
         WHERE r.live AND ((r.kind = 'step' AND r.during <> s.during)
                           OR (r.kind = 'turnover' AND lower(r.during) <> upper(s.during)))""",
    "a closure and its reservation disagree": """
        SELECT c.id FROM scheduling_closure c
         WHERE (c.reopened_at IS NULL) <> EXISTS (
               SELECT FROM scheduling_reservation r
                WHERE r.closure_id = c.id AND r.live AND r.resource_id = c.resource_id AND r.during = c.during)""",
    "an episode's anchor is not the start of its booked injection": """
        SELECT e.id FROM scheduling_episode e
          LEFT JOIN scheduling_appointment a ON a.episode_id = e.id AND a.visit = 'procedure'
               AND a.status IN ('booked', 'confirmed', 'arrived')
          LEFT JOIN scheduling_appointmentstep s ON s.appointment_id = a.id AND s.code = 'injection'
         WHERE NOT e.injected AND e.anchor_at IS DISTINCT FROM lower(s.during)""",
    "a visit has not the units it needs, or a unit without a visit is not in store": f"""
        SELECT a.id::text FROM scheduling_appointment a
          JOIN scheduling_episode e ON e.id = a.episode_id JOIN scheduling_protocol p ON p.id = e.protocol_id
          JOIN scheduling_product d ON d.id = p.product_id AND d.source = 'allogeneic'
         WHERE a.visit = 'procedure'
           AND (SELECT count(*) FROM scheduling_unit u WHERE u.appointment_id = a.id AND u.status = 'allocated')
               <> CASE WHEN a.status IN {LIVE} THEN p.units_per_level * cardinality(e.target_levels) ELSE 0 END
         UNION ALL
        SELECT u.identifier FROM scheduling_unit u
         WHERE (u.status = 'received') <> (u.appointment_id IS NULL)""",
    "a hold was booked after it had run out": """
        SELECT held.id FROM clinic_statuschange held
          JOIN clinic_statuschange booked ON booked.subject_id = held.subject_id AND booked.was = 'held'
               AND booked.became = 'booked' AND booked.at >= held.at + interval '15 minutes'
         WHERE held.was = '' AND held.became = 'held'""",
}


def broken() -> dict[str, list[str]]:
    """Each rule that does not hold, with the rows that break it; empty if all is well."""
    found = {}
    with connection.cursor() as cursor:
        for rule, breakers in BROKEN_BY.items():
            cursor.execute(breakers)
            if rows := cursor.fetchall():
                found[rule] = [str(row[0]) for row in rows]
    return found


def overlaps() -> int:
    with connection.cursor() as cursor:
        cursor.execute(BROKEN_BY["two live reservations of one resource overlap"])
        return len(cursor.fetchall())
