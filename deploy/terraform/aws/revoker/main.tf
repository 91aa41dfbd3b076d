# The role by which access-reconciler takes access away in one account. Install it where a provider enforces.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "trusted_principal_arn" {
  description = "ARN of the identity of the revoker that may enter this account; not that of the reader."
  type        = string
}

variable "external_id" {
  description = "External id that the revoker presents; empty asks for none."
  type        = string
  default     = ""
}

variable "role_name" {
  description = "Name of the role; the same in every account."
  type        = string
  default     = "access-reconciler-revoker"
}

variable "protected_paths" {
  description = "IAM paths whose users this role can never touch, whatever the reconciler decides."
  type        = list(string)
  default     = ["break-glass/"]
}

variable "allow_undo" {
  description = "Let `undo` give back attached policies and memberships. Without it the role can hand out nothing of the kind."
  type        = bool
  default     = true
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [var.trusted_principal_arn]
    }
    dynamic "condition" {
      for_each = var.external_id == "" ? [] : [var.external_id]
      content {
        test     = "StringEquals"
        variable = "sts:ExternalId"
        values   = [condition.value]
      }
    }
  }
}

resource "aws_iam_role" "revoker" {
  name                 = var.role_name
  description          = "access-reconciler: takes access away from IAM users"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = 3600
}

data "aws_caller_identity" "here" {}

data "aws_partition" "here" {}

locals {
  iam_arn = "arn:${data.aws_partition.here.partition}:iam::${data.aws_caller_identity.here.account_id}"
}

data "aws_iam_policy_document" "revoke" {
  statement {
    sid = "Users"
    actions = [
      "iam:DeactivateMFADevice",
      "iam:DeleteAccessKey",
      "iam:DeleteLoginProfile",
      "iam:DeleteSSHPublicKey",
      "iam:DeleteServiceSpecificCredential",
      "iam:DeleteSigningCertificate",
      "iam:DeleteUser",
      "iam:DeleteUserPolicy",
      "iam:DetachUserPolicy",
      "iam:GetSSHPublicKey",
      "iam:GetUser",
      "iam:GetUserPolicy",
      "iam:ListAccessKeys",
      "iam:ListSSHPublicKeys",
      "iam:ListServiceSpecificCredentials",
      "iam:ListSigningCertificates",
      "iam:PutUserPolicy",
      "iam:UpdateAccessKey",
      "iam:UpdateSSHPublicKey",
      "iam:UpdateServiceSpecificCredential",
      "iam:UpdateSigningCertificate",
    ]
    resources = ["${local.iam_arn}:user/*"]
  }

  statement {
    sid       = "Groups"
    actions   = ["iam:RemoveUserFromGroup"]
    resources = ["${local.iam_arn}:group/*"]
  }

  statement {
    sid       = "VirtualDevices"
    actions   = ["iam:DeleteVirtualMFADevice"]
    resources = ["${local.iam_arn}:mfa/*"]
  }

  dynamic "statement" {
    for_each = var.allow_undo ? [true] : []
    content {
      sid = "Undo"
      actions = [
        "iam:AddUserToGroup",
        "iam:AttachUserPolicy",
      ]
      resources = ["${local.iam_arn}:user/*", "${local.iam_arn}:group/*"]
    }
  }

  # Protection that does not rest on our own guard. Memberships and virtual devices are rights on the group and on the
  # device, which no path of a user limits: there the guard alone protects.
  dynamic "statement" {
    for_each = length(var.protected_paths) == 0 ? [] : [true]
    content {
      sid    = "NeverTouch"
      effect = "Deny"
      not_actions = [
        "iam:GetUser",
        "iam:GetUserPolicy",
      ]
      resources = [for path in var.protected_paths : "${local.iam_arn}:user/${path}*"]
    }
  }
}

resource "aws_iam_role_policy" "revoke" {
  name   = "take-access-away"
  role   = aws_iam_role.revoker.id
  policy = data.aws_iam_policy_document.revoke.json
}

output "role_arn" {
  description = "For `accounts` of the provider's revoker settings."
  value       = aws_iam_role.revoker.arn
}
