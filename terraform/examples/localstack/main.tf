# Bucket and tables in LocalStack, for brokers on a laptop. LocalStack is started beforehand and listens on port 4566.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.25, < 7.0"
    }
  }
}

variable "endpoint" {
  description = "Where LocalStack is."
  type        = string
  default     = "http://127.0.0.1:4566"
}

locals {
  region = "us-east-1"
}

provider "aws" {
  region                      = local.region
  access_key                  = "local"
  secret_key                  = "local"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  s3_use_path_style           = true

  endpoints {
    dynamodb = var.endpoint
    iam      = var.endpoint
    s3       = var.endpoint
    sts      = var.endpoint
  }
}

module "storage" {
  source = "../../modules/storage"

  bucket        = "forebay-log"
  force_destroy = true
}

module "tables" {
  source = "../../modules/tables"

  prefix                 = "forebay"
  deletion_protection    = false
  point_in_time_recovery = false
}

output "broker" {
  description = "Starts a broker on this machine, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set to local."
  value = join(" ", [
    "forebay broker --node-id 1 --data-dir ./forebay-1",
    "--object-store 's3://${module.storage.bucket}?region=${local.region}&endpoint=${var.endpoint}&path-style=true'",
    "--metadata 'dynamodb://${module.tables.prefix}?region=${local.region}&endpoint=${var.endpoint}'",
  ])
}
