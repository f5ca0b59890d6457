module "storage" {
  source = "./modules/storage"

  bucket             = var.bucket == null ? "${var.name}-log-${data.aws_caller_identity.current.account_id}-${local.region}" : var.bucket
  force_destroy      = !var.protect
  kms_key_arn        = var.kms_key_arn
  versioning_days    = var.versioning_days
  abort_uploads_days = 2
  wal_bucket         = "${var.name}-wal"
  wal_zone_id        = var.wal_zone_id
  tags               = local.tags
}

module "tables" {
  source = "./modules/tables"

  prefix                 = var.name
  provisioned            = var.provisioned_tables
  point_in_time_recovery = var.protect
  deletion_protection    = var.protect
  kms_key_arn            = var.kms_key_arn
  tags                   = local.tags
}

module "iam" {
  source = "./modules/iam"

  bucket      = module.storage.bucket
  prefix      = local.prefix
  wal_bucket  = module.storage.wal_bucket
  tables      = module.tables.prefix
  kms_key_arn = var.kms_key_arn
}
