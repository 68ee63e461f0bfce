package s3

// LimitCopies makes objects larger than limit be copied in parts of part bytes.
func (s *Store) LimitCopies(limit, part int64) { s.copyLimit, s.copyPart = limit, part }
