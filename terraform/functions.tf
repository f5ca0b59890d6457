locals {
  functions = local.functions_maintain ? ["api", "retention", "compaction", "collector", "sweep"] : ["api"]
}

module "functions" {
  source = "./modules/functions"
  count  = var.package_dir == null ? 0 : 1

  name                 = var.name
  functions            = local.functions
  package_dir          = var.package_dir
  architecture         = var.architecture
  policies             = module.iam.policies
  object_store         = local.object_store
  wal_store            = local.wal_store
  metadata             = local.metadata
  overrides            = var.function_overrides
  collect_grace        = lookup(var.broker_settings, "FOREBAY_COLLECT_GRACE", null)
  session_ttl          = lookup(var.broker_settings, "FOREBAY_SESSION_TTL", null) # the same for all
  new_topics           = var.new_topics
  api_endpoint         = var.api_endpoint
  api_throttle         = var.api_throttle
  admin_readers        = var.admin_readers
  admin_writers        = var.admin_writers
  reserve_concurrency  = var.reserve_concurrency
  log_retention_days   = var.log_retention_days
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags
}
